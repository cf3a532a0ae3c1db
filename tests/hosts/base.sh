#!/bin/sh
# Makes the root that all hosts of the tests stand on: the machine's own release of Debian or Ubuntu, with systemd, an OpenSSH server,
# apt, ufw, and nginx, off. Made once; whoever comes while it is made waits.
#
#   base.sh DIRECTORY        needs root, mmdebstrap, and the machine's way to its mirror
set -eu
base=$1
mkdir -p "$(dirname "$base")"
exec 9>>"$base.lock"
flock 9
[ ! -e "$base" ] || exit 0

. /etc/os-release
new=$base.new
rm -rf "$new"
settings=$(mktemp)
trap 'rm -rf "$new" "$settings"' EXIT
# Proxies and certificates, as the machine's own apt has them.
apt-config dump | grep -E '^Acquire::(http|https|Check|Retries)' >"$settings" || true

# The timers would take dpkg's lock when no test expects it.
mmdebstrap --mode=root --variant=apt --include=systemd-sysv,dbus,libpam-systemd,openssh-server,iproute2,ufw,nginx \
    --aptopt="$settings" --dpkgopt=force-unsafe-io \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='chroot "$1" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer' \
    --customize-hook='chroot "$1" systemctl --quiet disable nginx' \
    --customize-hook='rm -f "$1"/etc/ssh/ssh_host_*' \
    --customize-hook='printf "%s\n" "UseDNS no" "MaxStartups 100" >"$1/etc/ssh/sshd_config.d/tests.conf"' \
    --customize-hook='rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"' \
    "$VERSION_CODENAME" "$new" ${SETTLED_HOSTS_MIRROR:+"$SETTLED_HOSTS_MIRROR"}
mv "$new" "$base"
