# A throwaway OpenSSH server for the demo: where its programs come from, and how it starts. Nothing is installed, and nothing is
# written outside of $dir, but for /run/sshd: as root sshd insists on that directory, and it goes away again.
# Needs: here, dir, need, stop, await. `find_openssh` comes first; `start_sshd` sets sshd_pid, port and fingerprint.

# Of the sshd that was unpacked: its own libraries, and what stands in for the user that installing it would have made.
libraries='' preload=''

find_openssh() {
    PATH=$PATH:/usr/sbin:/sbin
    if ! need sshd || ! need ssh-keygen; then
        need apt-get && need dpkg-deb || stop "There is no sshd on this machine, and no apt to get one with." \
            "Install your distribution's OpenSSH server (it need not run), and start the demo again."
        unpack_openssh
    fi
    sshd=$(command -v sshd)
    [ "$(id -u)" != 0 ] || prepare_root
}

unpack_openssh() {
    echo "No sshd here: unpacking the package openssh-server into $dir (nothing is installed)"
    mkdir -p "$dir/root" "$dir/apt/archives/partial" "$dir/apt/lists/partial"
    configure_apt
    apt_get update || true # A mirror that fails does not matter if another one has what we need.
    apt_get install --download-only --no-install-recommends openssh-server || {
        grep '^[EW]:' "$dir/apt.log" >&2
        stop "There is no sshd on this machine, and apt could not download the package openssh-server." \
            "See that \`apt-get update\` works, or install openssh-server, and start the demo again."
    }
    for deb in "$dir"/apt/archives/*.deb; do dpkg-deb -x "$deb" "$dir/root"; done
    PATH=$dir/root/usr/sbin:$dir/root/usr/bin:$PATH
    libraries=$(find "$dir/root" -name '*.so.*' -exec dirname {} + | sort -u | paste -s -d :)
}

# An apt that knows what the machine has, needs no rights, and writes to $dir alone. Without the hooks of the machine's own.
configure_apt() {
    cat >"$dir/apt.conf" <<END
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "2";
Debug::NoLocking "true";
Dir::Cache "$dir/apt";
Dir::State::lists "$dir/apt/lists";
END
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -c "$dir/apt.conf" -q -y "$@" >>"$dir/apt.log" 2>&1 </dev/null
}

prepare_root() {
    [ -d /run/sshd ] || { mkdir -m 755 /run/sshd && made_run_sshd=yes; }
    [ -z "$(getent passwd sshd)" ] || return 0
    need cc || stop "As root, sshd wants a system user \`sshd\`, which this machine does not have." \
        "Start the demo as another user, or install openssh-server."
    preload=$dir/sshd_user.so
    cc -shared -fPIC -o "$preload" "$here/sshd_user.c"
}

openssh() {
    LD_LIBRARY_PATH=$libraries "$@"
}

# A port of the loopback interface on which nobody listens.
free_port() {
    for port in 22022 22122 22222 22322 22422 22522 22622; do
        grep -qi ":$(printf '%04X' "$port") 00000000:0000 0A" /proc/net/tcp || return 0
    done
    stop "Somebody listens on each of the ports 22022, 22122, .. 22622." "Free one, and start the demo again."
}

start_sshd() {
    openssh ssh-keygen -q -t ed25519 -N '' -C host -f "$dir/host_key"
    openssh ssh-keygen -q -t ed25519 -N '' -C client -f "$dir/identity"
    fingerprint=$(openssh ssh-keygen -lf "$dir/host_key.pub" | cut -d ' ' -f 2)
    cp "$dir/identity.pub" "$dir/authorized_keys"
    mkdir "$dir/home"
    free_port
    configure_sshd
    LD_LIBRARY_PATH=$libraries LD_PRELOAD=$preload "$sshd" -D -e -f "$dir/sshd_config" >"$dir/sshd.log" 2>&1 &
    sshd_pid=$!
    await "$sshd_pid" sshd grep '^Server listening on' "$dir/sshd.log"
}

# A login of settled runs /bin/sh, with sudo if it is not root's. Here it always is /bin/sh as whoever runs the demo.
configure_sshd() {
    cat >"$dir/sshd_config" <<END
Port $port
ListenAddress 127.0.0.1
HostKey $dir/host_key
AuthorizedKeysFile $dir/authorized_keys
PidFile none
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
ForceCommand /bin/sh -s
SetEnv HOME=$dir/home SETTLED_HOST_STATE=$dir/home/state
END
    # Newer versions are several programs, which look for each other where the package would have installed them.
    programs=$dir/root/usr/lib/openssh
    [ ! -e "$programs/sshd-session" ] || echo "SshdSessionPath $programs/sshd-session" >>"$dir/sshd_config"
    [ ! -e "$programs/sshd-auth" ] || echo "SshdAuthPath $programs/sshd-auth" >>"$dir/sshd_config"
}
