# What every verb and every process of a step needs. POSIX sh; only builtins, and small tools that hello has tested.
# No line of a text in quotes may begin with `#`: comment lines are left out before the text is sent.
set -u
umask 077
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export LC_ALL PATH

# Centiseconds since boot: the only time that decides anything here.
now() {
  read -r up _ </proc/uptime
  now=$((${up%.*} * 100 + 1${up#*.} - 100))
}

boot() {
  read -r boot </proc/sys/kernel/random/boot_id
}

# Durable, file by file; an old `sync` that takes no names does the whole system.
sync_files() {
  sync "$@" 2>/dev/null || sync
}

# lock FD FILE: waits up to 5 s for it, exclusively. Only `-n` is used, because not every flock has `-w`.
lock_within() {
  lock_tries=0
  until flock -n "$1" 2>/dev/null; do
    lock_tries=$((lock_tries + 1))
    [ "$lock_tries" -lt 100 ] || return 1
    sleep 0.05
  done
}

# Waits between two looks, of which $ticks have been. Each costs some processes: what takes longer than a second is looked at less.
rest() {
  if [ "$ticks" -lt 20 ]; then sleep 0.05; else sleep 0.25; fi
}

# Somebody holds the lock FILE. In doubt: yes.
held() {
  ! flock -s -n 3 3<"$1" 2>/dev/null
}

# block NAME TEXT: writes TEXT over the 512 bytes that were set aside, so that a full disk cannot refuse it.
block() {
  printf '%-511s\n' "$2" 2>/dev/null 1<>"$1"
}

# note NAME TEXT: makes the record NAME from its block, whole or not at all. publish: durable as well.
note() {
  [ -e "$1" ] && return 0
  block "$1.new" "$2" && mv -f "$1.new" "$1"
}

publish() {
  [ -e "$1" ] && return 0
  block "$1.new" "$2" && sync_files "$1.new" && mv -f "$1.new" "$1" && sync_files .
}

# raise NAME: makes an empty file that was set aside appear, durably.
raise() {
  [ -e "$1" ] && return 0
  mv -f "$1.new" "$1" && sync_files .
}

# The secrets of the step in the current directory go away; `secrets.new` names those that were on their way into it.
forget_secrets() {
  forget_secrets_of secrets.at
  forget_secrets_of secrets.new
}

# forget_secrets_of FILE: the folder that it names.
forget_secrets_of() {
  secrets_at=
  [ -e "$1" ] && read -r secrets_at <"$1"
  case $secrets_at in
  /run/settled-step-* | /dev/shm/settled-step-*) rm -rf -- "$secrets_at" ;;
  esac
}

# verdict BLOCK TEXT: two processes may each write one; the first to link it wins, for ever. Not while a pump is being replaced, which takes
# a moment: see `look_after_pump`.
verdict() {
  [ -e exit ] && return 0
  block "exit.$1" "$2" && sync_files "exit.$1" && {
    lock_within 3
    ln "exit.$1" exit 2>/dev/null
  } 3<limits && sync_files .
  forget_secrets
  [ -e exit ]
}

# Prints `pid group name` of each live process of the payload's session. Its group alone would not do: `timeout` and shells with
# job control make groups of their own.
session() {
  [ -e payload ] || return 0
  read -r leader _ <payload
  processes | while read -r pid group session name; do
    if [ "$session" = "$leader" ] || [ "$group" = "$leader" ]; then
      printf '%s %s %s\n' "$pid" "$group" "$name"
    fi
  done
}

# Prints `pid group session name` of every process that is alive.
processes() {
  for stat in /proc/[0-9]*/stat; do
    { read -r line <"$stat"; } 2>/dev/null || continue
    name=${line#*\(}
    # shellcheck disable=SC2086 # the fields are to be split
    set -- ${line##*\) }
    case ${1:-Z} in
    Z | X | x) ;;
    *) printf '%s %s %s %s\n' "${line%% *}" "${3:-0}" "${4:-0}" "${name%\)*}" ;;
    esac
  done
}

# Prints `pid name` of each live process that belongs to the step in the current directory, by session or by the environment that it
# got.
survivors() {
  {
    session | while read -r pid _ name; do
      printf '%s %s\n' "$pid" "$name"
    done
    marked
  } | sort -un
}

# Those that have the step's mark in the environment that they got. After the end of a step only they count: the number of its session
# may have become somebody else's.
marked() {
  grep -lF -e "SETTLED_STEP=$id" /proc/[0-9]*/environ 2>/dev/null | while read -r found; do
    tr '\0' '\n' 2>/dev/null <"$found" | grep -qxF "SETTLED_STEP=$id" && named "$found"
  done
}

# Makes one line of `pid name` lines, short enough for a record: `12 sh, 13 sleep`.
in_a_row() {
  head -n 10 | while read -r pid name; do
    printf '%s%s %s' "${comma:-}" "$pid" "$name"
    comma=', '
  done
}

# Prints `pid name` for a file below /proc/PID.
named() {
  pid=${1#/proc/}
  pid=${pid%%/*}
  { read -r line <"/proc/$pid/stat"; } 2>/dev/null || return 0
  name=${line#*\(}
  case ${line##*\) } in
  [ZXx]*) ;;
  *) printf '%s %s\n' "$pid" "${name%\)*}" ;;
  esac
}

# look DIR: how the step there stands, into $state and $detail. Reads only.
# exited CODE CAUSE | rejected WHY | lost WHY | orphaned | running | accepted; `settled` is 1 when no output can come any more.
look() {
  state=running detail= settled=0
  if [ -e "$1/exit" ]; then
    read -r state detail <"$1/exit"
    # What never ran prints nothing.
    [ "$state" != rejected ] && held "$1/pump.lock" || settled=1
    return 0
  fi
  if [ ! -e "$1/started" ]; then
    held "$1/sup.lock" || state=accepted
    # It may have started, or ended, between the looks.
    if [ "$state" = accepted ] && { [ -e "$1/started" ] || [ -e "$1/exit" ]; }; then
      look "$1"
    fi
    return 0
  fi
  boot
  read -r started_boot _ <"$1/started"
  if [ "$started_boot" != "$boot" ]; then
    state=lost detail=reboot settled=1
    return 0
  fi
  held "$1/lock" && return 0
  # Nobody supervises it: from here on no new process of it can appear, except children of its own.
  if [ -e "$1/exit" ]; then
    look "$1"
  elif [ ! -e "$1/payload" ]; then
    state=rejected detail=supervisor-killed settled=1
  elif [ -n "$(cd "$1" && id=${1##*/} && survivors)" ]; then
    state=orphaned
  elif [ -e "$1/exit" ]; then
    look "$1"
  else
    state=lost detail=supervisor-killed
    held "$1/pump.lock" || settled=1
  fi
}
