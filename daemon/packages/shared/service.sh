# For packages that have a service of systemd, and files that it reads. Comes after `debian`.

# How a service was before anything was changed, so that a removal can put it back.
note_service() {
    [ -f "$kept/$me.was" ] || {
        echo "$(systemctl is-enabled "$1" 2>/dev/null || :) $(systemctl is-active "$1" || :)" >"$kept/$me.was.new"
        mv "$kept/$me.was.new" "$kept/$me.was"
    }
}

# Where the service is still there, it goes on as it was.
put_service_back() {
    if [ -f "$kept/$me.was" ] && systemctl cat "$1" >/dev/null 2>&1; then
        read -r enabled active <"$kept/$me.was"
        case $enabled in enabled) systemctl -q enable "$1" ;; disabled) systemctl -q disable "$1" ;; esac
        case $active in active) systemctl restart "$1" ;; inactive) systemctl stop "$1" ;; esac
    fi
    rm -f "$kept/$me.was"
}

# Has a service run, with the files that `write_file` wrote since it was started last.
start_service() {
    systemctl -q enable "$1"
    [ -f "$kept/$me.changed" ] && verb=reload-or-restart || verb=start
    systemctl reset-failed "$1" 2>/dev/null || :
    systemctl "$verb" "$1" || {
        journalctl -u "$1" -n 20 --no-pager -o cat >&2 || :
        fail "$1 does not start; its last messages stand above"
    }
    rm -f "$kept/$me.changed"
    echo "$1 runs"
}

# Keeps what a file holds, so that `put_back` can take back what is written to it from here on. What was cut off in between is taken back first.
set_aside() {
    aside=$kept/$me.aside$(printf '%s' "$1" | tr / -)
    [ ! -f "$aside" ] || put_back "$1"
    [ -f "$1" ] && cp -p "$1" "$aside.new" || : >"$aside.new"
    mv "$aside.new" "$aside"
}

put_back() {
    aside=$kept/$me.aside$(printf '%s' "$1" | tr / -)
    if [ -s "$aside" ]; then mv -f "$aside" "$1"; else rm -f "$1" "$aside"; fi
}

# What was written to a file counts.
let_stand() {
    rm -f "$kept/$me.aside$(printf '%s' "$1" | tr / -)"
}

# Where the service $1, which people call $2, does not start with what was written to the other words, which are files, it goes on with
# what was there before, and the run fails.
start_or_put_back() {
    service=$1 called=$2
    shift 2
    (start_service "$service") || {
        for written; do put_back "$written"; done
        systemctl daemon-reload
        systemctl reset-failed "$service" 2>/dev/null || :
        systemctl restart "$service" || fail "$called does not start with these settings, and not with those before either"
        rm -f "$kept/$me.changed"
        fail "$called does not start with these settings, so it runs with those before; see its messages above"
    }
    for written; do let_stand "$written"; done
}

stop_service() {
    systemctl -q disable "$1"
    systemctl stop "$1"
    echo "$1 is stopped"
}

# The state of a package whose service is $1: paused means stopped on purpose. None while it does not run with what was written.
print_state() {
    if [ -e "$kept/$me.changed" ]; then echo "fact.pending=settings are written that the service has not read"
    elif systemctl -q is-active "$1"; then echo state=present
    elif systemctl -q is-enabled "$1" 2>/dev/null; then echo state=absent
    else echo state=paused
    fi
    echo "fact.service=$(systemctl is-active "$1" || :)"
}

# Puts what stands on stdin into a file of mode $2, in one instant, and remembers when that changes anything.
write_file() {
    rm -f "$1.settled-new"
    (umask 077 && cat >"$1.settled-new")
    chmod "$2" "$1.settled-new"
    [ -z "${3-}" ] || chgrp "$3" "$1.settled-new"
    # What counts after a power cut, too, is written before it counts.
    sync "$1.settled-new"
    if cmp -s "$1.settled-new" "$1"; then
        rm -f "$1.settled-new"
    else
        : >"$kept/$me.changed"
        mv -f "$1.settled-new" "$1"
        echo "$1 is written"
    fi
}
