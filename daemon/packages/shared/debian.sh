# For packages that bring Debian packages: apt without questions, and who needs what.
package=$SETTLED_PACKAGE
kept=/var/lib/settled-packages
me=$package.$SETTLED_NAME
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
umask 022

# Ends the run: trying again would not help.
fail() {
    printf '%s\n' "$1" >&2
    exit 78
}

check_server() {
    [ "$(id -u)" = 0 ] || fail "the package $package needs root: log in as root, or as a user with sudo"
    command -v apt-get >/dev/null || fail "there is no apt-get on this server: the package $package is for Debian and Ubuntu"
    [ -d /run/systemd/system ] || fail "this server was not started by systemd, which the package $package needs"
    mkdir -p "$kept/debian"
}

# apt-get without questions. Another program's lock ends as a busy exit; what is wrong for good ends the run.
apt() {
    code=0
    apt-get -y -q -o DPkg::Lock::Timeout=20 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef \
        -o Dpkg::Options::=--force-confold "$@" </dev/null 2>"$kept/errors" || code=$?
    cat "$kept/errors" >&2
    [ "$code" != 0 ] || return 0
    ! grep -qE 'Could not get lock|Unable to (acquire|lock)|was locked by another' "$kept/errors" || exit 75
    ! grep -qE 'Unable to locate package|no installation candidate|was not found' "$kept/errors" ||
        fail "the distribution of this server does not offer that; see apt's message above"
    echo "apt-get $* ended with exit code $code; see its messages above" >&2
    exit "$code"
}

# The lists of packages, anew when they are older than an hour.
refresh() {
    [ -z "$(find "$kept/refreshed" -mmin -60 2>/dev/null)" ] || return 0
    apt update
    : >"$kept/refreshed"
}

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# Installs Debian packages, and remembers who needs them and what was not there before.
bring() {
    missing=
    for deb; do is_installed "$deb" || missing="$missing $deb"; done
    [ -z "$missing" ] || refresh
    for deb; do
        mkdir -p "$kept/debian/$deb"
        : >"$kept/debian/$deb/$me"
        is_installed "$deb" || {
            apt-get -s install --no-install-recommends $missing | awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }' >>"$kept/debian/$deb/.brought"
        }
    done
    [ -z "$missing" ] || apt install --no-install-recommends $missing
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
        rm -f "$dir/$me"
        others=$(who_else_needs "$deb")
        if [ ! -f "$dir/.brought" ]; then
            rmdir "$dir" 2>/dev/null || :
            echo "$deb stays: it was there before"
        elif [ -n "$others" ]; then
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

# One resource of this package manages the server's only one.
claim() {
    owner=$(cat "$kept/$package.owner" 2>/dev/null) || owner=$SETTLED_NAME
    [ "$owner" = "$SETTLED_NAME" ] || fail "the resource $owner has the $package of this server: update that one, or remove it first"
    printf '%s\n' "$SETTLED_NAME" >"$kept/$package.owner.new"
    mv "$kept/$package.owner.new" "$kept/$package.owner"
}

is_ours() {
    [ "$(cat "$kept/$package.owner" 2>/dev/null)" = "$SETTLED_NAME" ]
}
