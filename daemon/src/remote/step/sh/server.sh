# Answers, and the state directory. Needs: nonce, claimant, state_dir, shell, result_max.

say() {
  printf 'SETTLED1 %s %s\n' "$nonce" "$*"
}

# The last word of every answer: without it the answer was cut off.
done_with() {
  [ $# = 0 ] || say "$@"
  say end
  exit 0
}

# Someone has to change something.
refuse() {
  done_with refused "$*"
}

# It may go away by itself.
fail() {
  done_with failed "$*"
}

# Prints the first line of a file, or nothing.
first_line() {
  [ -r "$1" ] || return 0
  read -r first <"$1"
  printf '%s' "$first"
}

# age_of PID: whole seconds since it began, into $age, by the time since boot; 0 when that cannot be told. The kernel shows everyone its
# ticks as hundredths of a second.
age_of() {
  age=0
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
  # shellcheck disable=SC2086 # the fields are to be split
  set -- ${line##*\) }
  now
  [ "$now" -le "${20:-$now}" ] || age=$(((now - ${20}) / 100))
}

# The home directory of the user that this runs as, wherever sudo left HOME.
find_home() {
  home=${HOME:-/}
  [ -z "$state_dir" ] && [ "$uid" = 0 ] || return 0
  while IFS=: read -r _ _ number _ _ at _; do
    [ "$number" = 0 ] && home=$at && return 0
  done </etc/passwd
}

open_state() {
  uid=$(id -u)
  find_home
  if [ -n "$state_dir" ]; then
    STATE=$state_dir
  elif [ -n "${SETTLED_HOST_STATE:-}" ]; then
    # Set by whoever runs the server, for instance with SetEnv in sshd_config.
    STATE=$SETTLED_HOST_STATE
  elif [ "$uid" = 0 ]; then
    STATE=/var/lib/settled-host
  else
    STATE=$home/.local/state/settled-host
  fi
  [ -e "$STATE/format" ] || make_state
  format=$(first_line "$STATE/format")
  [ "$format" = 1 ] || refuse "$STATE has format '$format', which is not the format 1 that this daemon knows: update settled"
  [ -w "$STATE/epoch.lock" ] || refuse "$STATE cannot be written by $(id -un)"
}

make_state() {
  mkdir -p "$STATE/steps" "$STATE/reaped" "$STATE/cancelled" "$STATE/tmp" && chmod 700 "$STATE" &&
    : >>"$STATE/epoch.lock" && : >>"$STATE/lane" && printf '1\n' >"$STATE/format.new" &&
    mv -f "$STATE/format.new" "$STATE/format" && sync_files "$STATE/format" "$STATE" ||
    fail "$STATE cannot be made or written: is the disk full, or mounted read-only?"
}

# $highest and $owner as accepted so far.
read_epoch() {
  highest=0 owner=''
  [ -e "$STATE/epoch" ] && read -r highest owner <"$STATE/epoch"
}

# store NAME WORD...: one line of the state, whole or not at all.
store() {
  name=$1
  shift
  printf '%s\n' "$*" >"$STATE/$name.new" && sync_files "$STATE/$name.new" &&
    mv -f "$STATE/$name.new" "$STATE/$name" && sync_files "$STATE" ||
    fail 'the epoch cannot be stored on the server: is its disk full?'
}

# From here to the end of the verb, or to `unlock`, nobody else starts, cancels, claims or reaps.
lock_state() {
  exec 6>>"$STATE/epoch.lock"
  flock 6 || fail "$STATE/epoch.lock cannot be locked"
}

unlock() {
  exec 6>&-
}

# The epoch $epoch is ours to act in: no higher one was accepted, and nobody else has acted in it. A copied store counts on from the
# same number as its original, but a claimant is one process of one daemon.
outbid() {
  lock_state
  read_epoch
  taken=0 taker=''
  [ -e "$STATE/claim" ] && read -r taken taker <"$STATE/claim"
  [ "$highest" -le "$epoch" ] || done_with fenced "$highest"
  [ "$taken" != "$epoch" ] || [ "$taker" = "$claimant" ] || done_with fenced "$epoch"
}

# accept OWNER: the claimant first, so that no epoch is ever accepted without one.
accept() {
  [ "$taken $taker" = "$epoch $claimant" ] || store claim "$epoch" "$claimant"
  [ "$highest $owner" = "$epoch $1" ] || store epoch "$epoch" "$1"
}

fence() {
  outbid
  accept "$owner"
}

# Sets $step. What was cleared away has left a tombstone: then this is the answer.
find_step() {
  step=$STATE/steps/$id
  [ -d "$step" ] && return 0
  [ -e "$STATE/reaped/$id" ] && done_with step "$id" reaped 0 0
  return 1
}

# The answer of a step that is not there. It may have been lost, with the locks that told of it, while its payload goes on.
unknown() {
  living=$(marked | head -n 20)
  [ -n "$living" ] || done_with step "$id" absent 0 0
  say step "$id" orphaned 0 0
  printf '%s\n' "$living" | while read -r pid name; do
    say process "$pid" "$name"
  done
  done_with
}

# Bytes of output so far, and whether there was more.
measure() {
  bytes=$(($(wc -c <"$step/out")))
  truncated=0
  [ -e "$step/truncated" ] && truncated=1
}

# The one line that tells how $step stands. An end is told when no output can come after it.
report() {
  case $state in
  exited | rejected | lost) [ "$settled" = 1 ] || state=running detail='' ;;
  esac
  say step "$id" "$state" "$bytes" "$truncated" "$detail"
  result
  left | head -n 20 | while read -r pid name; do
    say process "$pid" "$name"
  done
  case $state in
  lost | orphaned) scene ;;
  esac
}

# What the payload has left in SETTLED_OUTPUT, once its end is told. A byte more than is allowed tells that it is too much.
result() {
  [ "$state" = exited ] && [ -z "${brief:-}" ] && [ -f "$step/result" ] && [ ! -L "$step/result" ] || return 0
  say result "$(head -c "$result_max" "$step/result" | base64 | tr -d '\n')"
}

# What else is there of a step without an exit code: the boot that it began in, the one that is now, and whether the lane is locked.
scene() {
  boot
  began=-
  [ ! -e "$step/started" ] || read -r began _ <"$step/started"
  lane=free
  held "$STATE/lane" && lane=held
  say scene "$began" "$boot" "$lane"
}

# Prints `pid name` of each process that lives although the step's supervisor is dead, although it was killed, or although it has ended.
left() {
  case $state in
  orphaned) (cd "$step" && survivors) ;;
  running) [ ! -e "$step/killed" ] || (cd "$step" && survivors) ;;
  exited | lost) [ -n "${brief:-}" ] || marked ;;
  esac
}

# guard DIR: a supervisor for a step whose first one is dead, so that its deadline and a cancel are still enforced.
guard() {
  [ ! -e "$1/started" ] || [ "$settled" = 1 ] || held "$1/sup.lock" || launch "$1"
}

# launch DIR: a supervisor for the step there, away from this session. The text in the directory is the one that finishes it.
launch() {
  env -i PATH="$PATH" LC_ALL=C LANG=C HOME="$home" setsid "$shell" "$1/run" launch "$shell" \
    </dev/null >/dev/null 2>&1 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- &
}
