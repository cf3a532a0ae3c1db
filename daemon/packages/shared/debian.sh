# For packages that bring Debian packages: apt without questions, and who needs what.
package=$SETTLED_PACKAGE
kept=/var/lib/settled-packages
me=$package.$SETTLED_NAME
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
umask 022

check_server() {
    [ "$(id -u)" = 0 ] || fail "the package $package needs root: log in as root, or as a user with sudo"
    command -v apt-get >/dev/null || fail "there is no apt-get on this server: the package $package is for Debian and Ubuntu"
    [ -d /run/systemd/system ] || fail "this server was not started by systemd, which the package $package needs"
    mkdir -p "$kept/debian"
}

# apt-get without questions; ends as that does, in `code` too. Another program's lock ends as a busy exit.
run_apt() {
    code=0
    apt-get -y -q -o DPkg::Lock::Timeout=20 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold "$@" </dev/null 2>"$kept/errors" || code=$?
    cat "$kept/errors" >&2
    [ "$code" != 0 ] || return 0
    ! grep -qE 'Could not get lock|Unable to (acquire|lock)|was locked by another' "$kept/errors" || exit 75
    return "$code"
}

# The same where a failure ends the run, for good when it is wrong for good. What could not be fetched makes the lists of packages worth
# another look.
apt() {
    ! run_apt "$@" || return 0
    ! grep -q 'remove is disabled' "$kept/errors" ||
        fail "that cannot be here together with what apt would remove, see its messages above; nothing is changed: remove that yourself first"
    ! grep -qE 'Unable to locate package|no installation candidate|was not found' "$kept/errors" ||
        fail "the distribution of this server does not offer that; see apt's message above"
    ! grep -qE 'Unable to fetch|Failed to fetch' "$kept/errors" || rm -f "$kept/refreshed"
    echo "apt-get $* ended with exit code $code; see its messages above" >&2
    exit "$code"
}

# Brings packages, and takes none away for them: what is in the way may be what the server is for.
apt_install() {
    apt --no-remove install --no-install-recommends "$@"
}

# The lists of packages, anew when they are older than an hour or than the sources that they are of. Where not all of them could be fetched,
# which apt-get calls a failure of one source and not of another, the rest may do: it is told, and they stay due.
refresh() {
    if [ -n "$(find "$kept/refreshed" -mmin -60 2>/dev/null)" ] &&
        [ -z "$(find /etc/apt/sources.list /etc/apt/sources.list.d -newer "$kept/refreshed" 2>/dev/null)" ]; then
        return 0
    fi
    rm -f "$kept/refreshed"
    if run_apt update && ! grep -qE 'Failed to fetch|Some index files failed' "$kept/errors"; then
        : >"$kept/refreshed"
        return 0
    fi
    sources=$(grep -oE '[a-z+]+:/[^ ]*' "$kept/errors" | sort -u | head -n 5 | tr '\n' ' ')
    echo "warning: not all lists of packages could be fetched (${sources:-see above}): what follows goes by those that are here" >&2
}

is_installed() {
    dpkg-query -W -f '${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed
}

# Whether there is a package of exactly this name: where there is none, apt would take it for a pattern.
is_offered() {
    apt-cache policy "$1" 2>/dev/null | awk -v name="$1:" '
        /^[^ ]/ { here = $0 == name }
        here && $1 == "Candidate:" && $2 != "(none)" { found = 1 }
        END { exit !found }'
}

# Ends the run where there is none; for good only by lists that are complete.
must_be_offered() {
    ! is_offered "$1" || return 0
    rm -f "$kept/refreshed"
    refresh
    ! is_offered "$1" || return 0
    [ ! -f "$kept/refreshed" ] || fail "the distribution of this server does not offer the package $1"
    echo "$1 is not in the lists of packages that are here, and they could not be fetched anew; see apt's messages above" >&2
    exit 1
}

# Notes that this resource needs a Debian package, and which ones are not there before the other words are installed.
note_coming() {
    into=$kept/debian/$1
    mkdir -p "$into"
    : >"$into/$me"
    ! is_installed "$1" || return 0
    shift
    apt-get -s install --no-install-recommends "$@" | awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }' >>"$into/.brought"
}

# Installs Debian packages, and remembers who needs them and what was not there before.
bring() {
    missing=
    for deb; do is_installed "$deb" || missing="$missing $deb"; done
    [ -z "$missing" ] || refresh
    for deb in $missing; do must_be_offered "$deb"; done
    for deb; do note_coming "$deb" $missing; done
    [ -z "$missing" ] || apt_install $missing
    for deb in $missing; do
        is_installed "$deb" || { echo "apt-get ended well, and $deb is not installed; see its messages above" >&2; exit 1; }
    done
}

must_have() {
    is_installed "$1" || fail "$1 is not installed on this server: install the package $2 first"
}

# Notes that this resource needs a Debian package that is there already, so that it is not taken away below it.
lean_on() {
    mkdir -p "$kept/debian/$1"
    : >"$kept/debian/$1/$me"
}

# Which other resources need a Debian package.
who_else_needs() {
    [ ! -d "$kept/debian/$1" ] || ls "$kept/debian/$1" | grep -vxF -e "$me" | tr '\n' ' '
}

# What is taken back from `bring`: with the word purge, settings and data of the program go too.
take_away() {
    verb=$1
    shift
    gone=
    for deb; do
        dir=$kept/debian/$deb
        [ -d "$dir" ] || continue
        others=$(who_else_needs "$deb")
        if [ ! -f "$dir/.brought" ]; then
            rm -f "$dir/$me"
            rmdir "$dir" 2>/dev/null || :
            echo "$deb stays: it was there before"
        elif [ -n "$others" ]; then
            rm -f "$dir/$me"
            echo "$deb stays: it is needed by $others"
        else
            gone="$gone $deb"
        fi
    done
    [ -n "$gone" ] || return 0
    ours=$(for deb in $gone; do cat "$kept/debian/$deb/.brought"; done | sort -u)
    # What neither dpkg nor apt knows any more cannot be there.
    known=$(for deb in $gone; do dpkg-query -W "$deb" >/dev/null 2>&1 && echo "$deb" || :; done)
    foreign=$(apt-get -s remove $known | awk '$1 == "Remv" { print $2 }' | grep -vxF -e "$ours" | tr '\n' ' ')
    if [ -n "$foreign" ]; then
        echo "stays:$gone, since others were installed that need it: $foreign"
    else
        [ -z "$known" ] || apt "$verb" $known
        # What others merely suggest is not needed; what they recommend stays, even if it came along.
        alone=$(apt-get -s -o APT::AutoRemove::SuggestsImportant=false autoremove | awk '$1 == "Remv" { print $2 }' | grep -xF -e "$ours" || :)
        [ -z "$alone" ] || apt "$verb" $alone
    fi
    for deb in $gone; do rm -rf "${kept:?}/debian/$deb"; done
}

# Notes whether the data of a program, in the directory $1, were there before it came: then nobody here may delete them.
note_data() {
    [ ! -f "$kept/$me.data" ] || return 0
    [ -e "$1" ] && echo before >"$kept/$me.data.new" || echo ours >"$kept/$me.data.new"
    mv "$kept/$me.data.new" "$kept/$me.data"
}

data_are_ours() {
    [ "$(cat "$kept/$me.data" 2>/dev/null)" = ours ]
}

# Deletes data, also where they have a disk of their own.
delete_data() {
    [ ! -d "$1" ] || find "$1" -mindepth 1 -delete
    rmdir "$1" 2>/dev/null || :
}

# One resource of this package manages the server's only one.
claim() {
    owner=$(cat "$kept/$package.owner" 2>/dev/null) || owner=$SETTLED_NAME
    [ "$owner" = "$SETTLED_NAME" ] || fail "the resource $owner has the $package of this server: update that one, or remove it first. $(if_lost "$owner")"
    printf '%s\n' "$SETTLED_NAME" >"$kept/$package.owner.new"
    mv "$kept/$package.owner.new" "$kept/$package.owner"
}

is_ours() {
    [ "$(cat "$kept/$package.owner" 2>/dev/null)" = "$SETTLED_NAME" ]
}

# The same for a probe: what was adopted bears no mark until it is changed.
is_ours_or_adopted() {
    is_ours || { [ -n "$SETTLED_ADOPTED" ] && [ ! -e "$kept/$package.owner" ]; }
}
