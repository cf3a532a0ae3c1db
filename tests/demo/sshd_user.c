/* As root, sshd wants a system user `sshd` to become before it believes anyone. Installing openssh-server makes that user;
 * an sshd that was only unpacked goes without it, and becomes `nobody` instead when this library is preloaded. */
#include <pwd.h>
#include <stddef.h>
#include <string.h>

struct passwd *getpwnam(const char *name) {
    static struct passwd entry;
    static char texts[16384];
    struct passwd *found = NULL;
    getpwnam_r(strcmp(name, "sshd") == 0 ? "nobody" : name, &entry, texts, sizeof texts, &found);
    return found;
}
