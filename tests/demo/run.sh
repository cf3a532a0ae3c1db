#!/bin/sh
# The main job of settled, from nothing: a throwaway OpenSSH server, a daemon on SQLite, a site that is installed, updated, broken,
# mended and removed. Everything lives in one temporary directory and runs as whoever starts it; nothing is installed or started
# system-wide, and nothing stays. Wants: settled and settlectl in $BIN (make demo builds them), and sshd, or apt to download it with.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
BIN=${BIN:?set BIN to the directory of settled and settlectl}
dir=$(mktemp -d "${TMPDIR:-/tmp}/settled-demo.XXXXXX")
bold='' plain=''
if [ -t 1 ]; then
    bold=$(tput bold 2>/dev/null || true)
    plain=$(tput sgr0 2>/dev/null || true)
fi
# What is set for a settled of your own is not for this one.
unset $(env | sed -n 's/^\(SETTLE[A-Z_]*\)=.*/\1/p')

finish() {
    status=$?
    trap - EXIT HUP INT PIPE TERM
    for pid in ${watch_pid:-} ${settled_pid:-} ${sshd_pid:-}; do
        { kill "$pid" && wait "$pid"; } 2>/dev/null || true
    done
    [ -z "${made_run_sshd:-}" ] || rmdir /run/sshd 2>/dev/null || true
    if [ "$status" != 0 ] && [ "$status" -lt 128 ]; then
        echo "The demo stopped early (status $status)." >&2
        for log in settled sshd; do
            [ ! -s "$dir/$log.log" ] || { echo "What $log said last:" && tail -n 20 "$dir/$log.log"; } >&2
        done
    fi
    rm -rf "$dir"
    exit "$status"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
trap 'exit 143' TERM

say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
show() {
    printf '%s$ settlectl %s%s\n' "$bold" "$*" "$plain"
    "$BIN/settlectl" "$@"
}
need() { command -v "$1" >/dev/null 2>&1; }
stop() { # SENTENCE...: ends the demo
    printf '%s\n' "$@" >&2
    exit 1
}

await() { # PID NAME COMMAND...: until the command succeeds, for as long as the process lives, but not for ever
    pid=$1 name=$2 looks=0
    shift 2
    until "$@" >/dev/null 2>&1; do
        kill -0 "$pid" 2>/dev/null || stop "$name ended as soon as it was started."
        looks=$((looks + 1))
        [ "$looks" -lt 300 ] || stop "$name did not get ready within 30 seconds."
        sleep 0.1
    done
}

. "$here/openssh.sh"

start_settled() {
    export SETTLECTL_ENDPOINT="unix:$dir/settled.sock"
    # Short pauses, so that the failing update does not make anyone wait.
    SETTLED_RUN__BACKOFF_S=2 SETTLED_RUN__ATTEMPTS=2 \
        "$BIN/settled" --data-dir "$dir/data" --listen-unix "$dir/settled.sock" >"$dir/settled.log" 2>&1 &
    settled_pid=$!
    await "$settled_pid" settled "$BIN/settlectl" status
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
  settlectl install scheduled_task --server NAME --name hello --set user=root --set 'expression=0 4 * * *' --set 'command=date' --wait
EOF
