#!/bin/sh
# One host of the tests: a machine of its own as far as settled can tell, with systemd, disk, network, boot id. It is off when this
# process is gone, and nothing of it is left.
#
#   unshare --mount --net --pid --fork --kill-child host.sh hold DIRECTORY BASE LINK MACHINE ADDRESS
#
# DIRECTORY   holds `seed`, files that the host has at first; gets the mounts, which nobody else sees
# BASE        the root that base.sh made; it is only read
# LINK        name of the machine's end of the cable; MACHINE the process in whose network that end is; ADDRESS the host's, with prefix
set -eu

# A disk that lasts as long as the host, whatever boots from it.
hold() {
    cd "$1"
    base=$2 link=$3 machine=$4 address=$5
    mount --make-rprivate /
    mkdir -p disk root cgroups
    mount -t tmpfs -o size=1g,mode=755 disk disk
    mkdir disk/upper disk/work
    cp -a seed/. disk/upper/

    ip link add eth0 type veth peer name "$link" netns "/proc/$machine/ns/net"
    ip address add "$address" dev eth0
    ip link set lo up
    ip link set eth0 up

    mount -t cgroup2 cgroups cgroups
    sweep
    echo "the host is there" >&2
    while :; do
        # Ends with the init of the host: by a reboot, or because somebody has cut the power.
        "$0" join "cgroups/$link" unshare --mount --pid --uts --ipc --cgroup --fork --kill-child "$0" boot "$base" || true
    done
}

# Removes the control groups of hosts whose test was killed. An empty group of a host that runs is no leftover: its systemd makes a
# service's group before it moves a process there. Under the lock, so that no host is between making its own and joining it.
sweep() {
    exec 9<cgroups
    flock 9
    for left in cgroups/settled-*; do
        if grep -qsx 'populated 0' "$left/cgroup.events"; then find "$left" -depth -type d -exec rmdir {} + || true; fi
    done
    exec 9<&-
}

# Runs a command in a control group, which is made if there is none.
join() {
    exec 9<cgroups
    flock 9
    mkdir -p "$1"
    echo 0 >"$1/cgroup.procs"
    exec 9<&-
    shift
    exec "$@"
}

# Power on: everything but the disk is new.
boot() {
    mount -t overlay -o "lowerdir=$1,upperdir=disk/upper,workdir=disk/work" root root
    cd root
    mount -t proc proc proc
    mount -t sysfs -o ro sys sys
    mount -t cgroup2 cgroups sys/fs/cgroup
    mount -t tmpfs -o mode=755 run run
    mount -t tmpfs -o mode=755 dev dev
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 pts dev/pts
    mount -t tmpfs -o mode=1777 shm dev/shm
    for device in null zero full random urandom tty; do cp -a "/dev/$device" dev/; done
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd

    # The kernel is the machine's: nothing of it is changed from here, but for the host's own network.
    mount --bind proc/sys proc/sys
    mount -o remount,ro,bind proc/sys
    mount --bind proc/sys/net proc/sys/net
    mount -o remount,rw,bind proc/sys/net
    [ ! -e proc/sysrq-trigger ] || mount --bind dev/null proc/sysrq-trigger
    cat proc/sys/kernel/random/uuid >run/boot_id
    mount --bind run/boot_id proc/sys/kernel/random/boot_id

    hostname "$(cat etc/hostname)"
    mkdir -p .machine
    pivot_root . .machine
    umount -l /.machine
    exec env -i container=settled PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init
}

"$@"
