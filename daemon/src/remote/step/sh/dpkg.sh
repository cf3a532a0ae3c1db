# Who holds a lock of dpkg or apt, and what an interrupted dpkg has left. The locks are fcntl locks, which flock(1) does not see, and
# /proc/locks does. Needs: dpkg_locks, dpkg_dir.

# Sets $holder to `PID SECONDS NAME`, or to nothing.
find_dpkg_holder() {
  holder=''
  # shellcheck disable=SC2086 # a list of paths
  inodes=" $(stat -c %i $dpkg_locks 2>/dev/null | tr '\n' ' ')"
  # Read in one piece: a shell reads byte by byte, and a list that changes meanwhile would lose lines.
  locks=$(cat /proc/locks)
  while read -r _ kind _ mode pid where _; do
    [ "$kind $mode" = 'POSIX WRITE' ] || continue
    case $inodes in *" ${where##*:} "*) ;; *) continue ;; esac
    [ "$pid" -gt 0 ] 2>/dev/null && has_open "$pid" || continue
    age_of "$pid"
    holder="$pid $age $(first_line "/proc/$pid/comm")"
    return 0
  done <<LOCKS
$locks
LOCKS
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

# Sets $interrupted to what was interrupted: packages with their states, at most 20, or to nothing. By states and not by
# `dpkg --audit`, which also tells of what hinders nobody, such as packages without checksums.
find_interrupted() {
  interrupted=''
  command -v dpkg-query >/dev/null 2>&1 || return 0
  interrupted=$(dpkg-query --admindir="$dpkg_dir" -W -f '${Package} ${db:Status-Status} ${db:Status-Eflag}\n' 2>/dev/null |
    grep -E ' (unpacked|half-configured|half-installed) | reinstreq$' | head -n 20 | while read -r package status _; do
      printf '%s %s, ' "$package" "$status"
    done)
  interrupted=${interrupted%, }
  [ -z "$interrupted" ] || return 0
  # apt refuses to work as long as dpkg has written down what it has not finished.
  for update in "$dpkg_dir/updates"/[0-9]*; do
    [ ! -e "$update" ] || interrupted='its journal is not empty'
  done
}
