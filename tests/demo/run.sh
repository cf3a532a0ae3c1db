#!/bin/sh
# The main job of settled, from nothing: a throwaway OpenSSH server, a daemon on SQLite, a site that is installed, updated, broken,
# mended and removed. Everything lives in one temporary directory, nothing is installed or started system-wide, and nothing stays.
# Wants: settled and settlectl in $BIN (make demo builds them), and sshd or the right to download Debian's package of it.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
BIN=${BIN:?set BIN to the directory of settled and settlectl}
dir=$(mktemp -d "${TMPDIR:-/tmp}/settled-demo.XXXXXX")
bold=$(tput bold 2>/dev/null || true)
plain=$(tput sgr0 2>/dev/null || true)

finish() {
    status=$?
    trap - EXIT INT TERM
    [ -z "${watch_pid:-}" ] || kill "$watch_pid" 2>/dev/null || true
    [ -z "${settled_pid:-}" ] || { kill "$settled_pid" 2>/dev/null && wait "$settled_pid"; } || true
    [ -z "${sshd_pid:-}" ] || kill "$sshd_pid" 2>/dev/null || true
    [ -z "${made_run_sshd:-}" ] || rmdir /run/sshd 2>/dev/null || true
    if [ "$status" != 0 ]; then
        echo "The demo stopped early (status $status). What the daemon said last:" >&2
        tail -n 20 "$dir/settled.log" >&2 2>/dev/null || true
        tail -n 20 "$dir/sshd.log" >&2 2>/dev/null || true
    fi
    rm -rf "$dir"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
show() {
    printf '%s$ settlectl %s%s\n' "$bold" "$*" "$plain"
    "$BIN/settlectl" "$@"
}
need() { command -v "$1" >/dev/null 2>&1; }

# The machine's OpenSSH, or Debian's packages unpacked into our own directory.
find_openssh() {
    PATH=$PATH:/usr/sbin:/sbin
    if need sshd && need ssh-keygen; then
        sshd=$(command -v sshd)
        return
    fi
    need apt-get && need dpkg-deb || { echo "No sshd here, and no apt to get one: install the package openssh-server" >&2; exit 1; }
    echo "No sshd here: unpacking Debian's into $dir (nothing is installed)"
    mkdir "$dir/debs" "$dir/root"
    (cd "$dir/debs" && apt-get download -q openssh-server openssh-client libwrap0 >/dev/null)
    for deb in "$dir"/debs/*.deb; do dpkg-deb -x "$deb" "$dir/root"; done
    sshd=$dir/root/usr/sbin/sshd
    PATH=$dir/root/usr/bin:$PATH
    LD_LIBRARY_PATH=$(dirname "$(find "$dir/root" -name 'libwrap.so.0' | head -n 1)")
    export LD_LIBRARY_PATH
}

# A port of the loopback interface on which nobody listens.
free_port() {
    for port in 22022 22122 22222 22322 22422 22522 22622; do
        grep -qi ":$(printf '%04X' "$port") 00000000:0000 0A" /proc/net/tcp || return 0
    done
    echo "No free port for the throwaway sshd" >&2
    exit 1
}

start_sshd() {
    ssh-keygen -q -t ed25519 -N '' -C host -f "$dir/host_key"
    ssh-keygen -q -t ed25519 -N '' -C client -f "$dir/identity"
    cp "$dir/identity.pub" "$dir/authorized_keys"
    mkdir "$dir/home"
    if [ "$(id -u)" = 0 ] && [ ! -d /run/sshd ]; then
        mkdir /run/sshd && made_run_sshd=yes
    fi
    free_port
    cat >"$dir/sshd_config" <<EOF
Port $port
ListenAddress 127.0.0.1
HostKey $dir/host_key
AuthorizedKeysFile $dir/authorized_keys
PidFile $dir/sshd.pid
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UsePAM no
SetEnv SETTLED_HOST_STATE=$dir/home/state
EOF
    "$sshd" -D -e -f "$dir/sshd_config" >"$dir/sshd.log" 2>&1 &
    sshd_pid=$!
    fingerprint=$(ssh-keygen -lf "$dir/host_key.pub" | cut -d ' ' -f 2)
}

start_settled() {
    export SETTLECTL_ENDPOINT="unix:$dir/data/settled.sock"
    # Short pauses, so that the failing update does not make anyone wait.
    SETTLED_RUN__BACKOFF_S=2 SETTLED_RUN__ATTEMPTS=2 \
        "$BIN/settled" --data-dir "$dir/data" >"$dir/settled.log" 2>&1 &
    settled_pid=$!
    tries=0
    until "$BIN/settlectl" status >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || { echo "settled did not start" >&2; exit 1; }
        kill -0 "$settled_pid" 2>/dev/null || { echo "settled ended at once" >&2; exit 1; }
        sleep 0.1
    done
}

say "A throwaway OpenSSH server for $(id -un), on the loopback interface"
find_openssh
start_sshd
echo "sshd on 127.0.0.1:$port, host key $fingerprint"

say "The daemon, on an embedded database in $dir/data"
start_settled
show status
echo "Lines that begin with ~ are the transitions, live, as any watcher sees them."
mkfifo "$dir/watch"
sed -u 's/^/  ~ /' <"$dir/watch" &
"$BIN/settlectl" watch >"$dir/watch" 2>&1 &
watch_pid=$!

say "A server, with its host key pinned"
show server add demo "127.0.0.1:$port" --user "$(id -un)" --identity "$dir/identity" --host-key "$fingerprint" --wait

say "The first release of a small site"
show install deployment --server demo --name shop --set "path=$dir/www" --set "source=$here/site-1" --set release=1 --wait
ls -l "$dir/www"
grep '<p>' "$dir/www/current/index.html"

say "The second release"
show update demo/deployment/shop --set "source=$here/site-2" --set release=2 --wait
grep '<p>' "$dir/www/current/index.html"

say "A third one whose build fails: the error is the real one, and the site stays as it was"
# The build looks for its menu where the owner has not put it yet.
build="test -s $dir/menu.txt || { echo 'menu.txt is missing: the kitchen has not sent it' >&2; exit 1; }; cp $dir/menu.txt menu.txt"
show update demo/deployment/shop --set release=3 --set "build=$build" --wait || echo "(settlectl ended with status $?)"
grep '<p>' "$dir/www/current/index.html"
show resource show demo/deployment/shop

say "The cause is mended, and the run is tried again"
echo "flat white, filter, tea" >"$dir/menu.txt"
show retry demo/deployment/shop --wait
cat "$dir/www/current/menu.txt"

say "Off again"
show remove demo/deployment/shop --wait
ls -A "$dir/www" 2>/dev/null | sed 's/^/left: /' || true

say "What happened, run by run"
show run list

say "Your own server"
cat <<'EOF'
  settled                                   # serves from ./.settled
  ssh-keyscan HOST | ssh-keygen -lf -       # compare with the server's own: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub
  settlectl server add NAME HOST --user root --identity ~/.ssh/id_ed25519 --host-key SHA256:... --wait
  settlectl package list
  settlectl install scheduled_task --server NAME --name hello --set user=root --set 'expression=@daily' --set 'command=date' --wait
EOF
