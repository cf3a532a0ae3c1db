# Who holds a lock of dpkg or apt. They are fcntl locks, which flock(1) does not see, and /proc/locks does. Needs: dpkg_locks.

# Sets $holder to `name (pid N)`, or to nothing.
find_dpkg_holder() {
  holder=''
  # shellcheck disable=SC2086 # a list of paths
  inodes=" $(stat -c %i $dpkg_locks 2>/dev/null | tr '\n' ' ')"
  while read -r _ kind _ mode pid where _; do
    [ "$kind $mode" = 'POSIX WRITE' ] || continue
    case $inodes in *" ${where##*:} "*) ;; *) continue ;; esac
    [ "$pid" -gt 0 ] 2>/dev/null && has_open "$pid" || continue
    holder="$(first_line "/proc/$pid/comm") (pid $pid)"
    return 0
  done </proc/locks
}

# The inode's number alone could be another file system's: the holder has one of the files open, as far as one may look.
has_open() {
  [ -r "/proc/$1/fd" ] || return 0
  for fd in "/proc/$1/fd"/*; do
    for path in $dpkg_locks; do
      [ "$fd" -ef "$path" ] && return 0
    done
  done
  return 1
}
