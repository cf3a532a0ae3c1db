#!/bin/sh
# Makes the root that all hosts of the tests stand on: the machine's own release of Debian or Ubuntu, or one of Debian that is named, with
# systemd, an OpenSSH server, apt and ufw; and a repository of what the built-in packages install, since a host has no way to a mirror.
# Made once, and again when this text changes; whoever comes while it is made waits. Prints where it is.
#
#   base.sh [RELEASE]       needs root, mmdebstrap, and the machine's way to its mirror
set -eu

# What hosts can install; what these depend on comes along.
offered="certbot cron curl git mariadb-server nginx pebble php-cli php-curl php-fpm php-mbstring php-mysql redis-server supervisor"

# Called by mmdebstrap with the new root: the repository in its /srv/packages.
if [ "${1-}" = offer ]; then
    cd "$2"
    rm -f var/cache/apt/archives/*.deb
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -qq -y --no-install-recommends --download-only install openssl $offered
    mkdir srv/packages
    mv var/cache/apt/archives/*.deb srv/packages/
    cd srv/packages
    for deb in *.deb; do
        name=$(printf '%s' "$deb" | sed 's/%../-/g')
        [ "$name" = "$deb" ] || mv "$deb" "$name"
        dpkg-deb --field "$name"
        printf '%s\n' "Filename: ./$name" "Size: $(stat -c %s "$name")" "SHA256: $(sha256sum <"$name" | cut -d ' ' -f 1)" ""
    done >Packages
    exit
fi

release=${1-}
[ -n "$release" ] || release=$(. /etc/os-release && echo "$VERSION_CODENAME")
base=${SETTLED_HOSTS_CACHE:-/var/cache/settled-tests}/$release-$(sha256sum <"$0" | cut -c 1-12)
mkdir -p "${base%/*}"
exec 9>>"$base.lock"
flock 9
if [ -e "$base" ]; then
    echo "$base"
    exit
fi

new=$base.new
# Below one that was cut off, nothing of the machine may be mounted any more; if something is, it is left alone.
rm -rf --one-file-system "$new"
settings=$(mktemp)
trap 'rm -rf --one-file-system "$new" "$settings"' EXIT
# Proxies and certificates, as the machine's own apt has them.
apt-config dump | grep -E '^Acquire::(http|https|Check|Retries)' >"$settings" || true

# What is mounted meanwhile is seen by nobody else, and gone with whoever made it. The timers would take dpkg's lock when no test expects it.
unshare --mount mmdebstrap --mode=root --variant=apt --include=systemd-sysv,dbus,libpam-systemd,openssh-server,iproute2,ufw \
    --aptopt="$settings" --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='chroot "$1" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer' \
    --customize-hook='rm -f "$1"/etc/ssh/ssh_host_*' \
    --customize-hook='printf "%s\n" "UseDNS no" "MaxStartups 100" >"$1/etc/ssh/sshd_config.d/tests.conf"' \
    --customize-hook="$(realpath "$0") offer \"\$1\"" \
    --customize-hook='rm -f "$1"/etc/apt/sources.list.d/* && echo "deb [trusted=yes] file:/srv/packages ./" >"$1/etc/apt/sources.list"' \
    --customize-hook='rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"' \
    "$release" "$new" ${SETTLED_HOSTS_MIRROR:+"$SETTLED_HOSTS_MIRROR"} >&2
mv "$new" "$base"
echo "$base"
