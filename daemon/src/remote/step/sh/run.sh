# The processes of one step. They outlive the connection, the daemon and, each of them, a SIGKILL of another.
#
#   launch   puts the supervisor into a scope of its own, where systemd is
#   sup      fences, starts pump and leaf, enforces cancel and deadline; a second one takes over when the first is dead
#   leaf     waits for the payload and writes its exit record
#   payload  becomes the payload
#   pump     moves output from the fifo to the disk, up to the limit, and forgets the rest
#
# A scope and not a service: in a scope the supervisor stays a process that this text has started, so everything here is the same with
# and without systemd; and when it dies, systemd leaves the rest of the scope alone. A service is the manager's: the death of its main
# process ends leaf and payload with it, and what it leaves behind would be told by ExecStopPost, a second way to a verdict that needs
# the manager alive. Here two processes can each write the verdict, and when both are dead the locks and the processes prove the rest.
#
# Locks: sup.lock = somebody watches; lock = first supervisor or leaf alive, or payload not yet noted; leaf.lock = leaf alive;
# pump.lock = output may still come; limits = a pump is being replaced, or the end written. Descriptors: 3 leaf.lock, 4 pump.lock, 5 sup.lock, 6 epoch.lock, 7 fifo, 8 lane, 9 lock.

launch_role() {
  if [ -d /run/systemd/system ] && [ "$(id -u)" = 0 ]; then
    unit=settled-step-$id-$$.scope
    systemd-run --quiet --collect --scope --unit="$unit" -p OOMPolicy=continue "$shell" ./run sup "$shell" && exit 0
    systemd-run --quiet --scope --unit="$unit" "$shell" ./run sup "$shell" && exit 0
  fi
  exec "$shell" ./run sup "$shell"
}

sup_role() {
  exec 5>>sup.lock
  lock_within 5 || exit 0
  trap : TERM INT HUP
  died=supervisor-killed
  if [ ! -e started ]; then
    [ -e exit ] && exit 0
    died=leaf-killed
    begin || exit 0
  fi
  watch
  finish
}

reject() {
  verdict sup "rejected $1"
}

# Up to the point of no return, under the lock that claim, cancel and start hold too.
begin() {
  exec 9>>lock
  lock_within 9 || return 1
  exec 8>>../../lane
  lane=held
  lock_within 8 || lane=busy
  exec 6>>../../epoch.lock
  flock 6 || return 1
  # Whoever clears away moves the directory under this lock, and may have been killed before all of it was removed.
  [ "../../steps/$id" -ef . ] || return 1
  [ -e exit ] && return 1
  [ -e started ] && return 0
  read -r highest _ <../../epoch
  read -r epoch _ <epoch
  if [ "$highest" -gt "$epoch" ]; then
    reject fenced
    return 1
  elif [ -e cancel ]; then
    reject cancelled-before-start
    return 1
  elif [ "$lane" = busy ]; then
    reject lane-busy
    return 1
  fi
  others || return 1
  boot
  now
  if ! publish started "$boot $now"; then
    reject disk
    return 1
  fi
  exec 6>&-
  exec 7<>pipe
  start_pump
  exec 3>>leaf.lock
  flock -n 3
  setsid "$shell" ./run leaf "$shell" </dev/null >/dev/null 2>&1 5>&- &
  exec 3>&- 7>&- 8>&-
}

# The lane is free as a lock: is it free of processes? A leaf and a supervisor may both have been killed beside a living payload.
others() {
  for other in ../*; do
    [ -e "$other/started" ] && [ ! -e "$other/exit" ] && [ "$other" != "../$id" ] || continue
    look "$other"
    case $state in
    running | orphaned)
      if [ "$state" = orphaned ]; then
        reject "lane-orphaned by ${other##*/}: $(cd "$other" && id=${other##*/} && survivors | in_a_row)"
      else
        reject lane-busy
      fi
      return 1
      ;;
    esac
  done
}

start_pump() {
  exec 4>>pump.lock
  flock -n 4
  setsid "$shell" ./run pump "$shell" <pipe >/dev/null 2>&1 3>&- 5>&- 7>&- 8>&- 9>&- &
  block pump.new "$!" && mv -f pump.new pump
  exec 4>&-
}

watch() {
  read -r timeout grace _ <limits
  read -r _ begun <started
  deadline=$((begun + timeout)) termed='' struck='' ticks=0
  # A step that was cleared away has nothing left to watch: its end was read between two looks.
  while [ ! -e exit ] && [ -e started ]; do
    now
    [ "$now" -ge "$deadline" ] && raise expired
    [ -e cancel ] || [ -e expired ] && end_payload
    ticks=$((ticks + 1))
    if [ $((ticks % 5)) = 0 ]; then
      look_after_pump
      look_after_leaf
    fi
    rest 5>&- 9>&-
  done
}

# TERM once, KILL after the grace, again and again: the session may still be making processes. What is left a second after the first
# KILL will not go by itself, and is told of.
end_payload() {
  [ -e payload ] || return 0
  if [ -z "$termed" ]; then
    termed=$now
    signal_session TERM
  elif [ $((now - termed)) -ge "$grace" ]; then
    signal_session KILL
    struck=${struck:-$now}
    [ $((now - struck)) -lt 100 ] || raise killed
  fi
}

signal_session() {
  session | while read -r pid group _; do
    kill "-$1" "-$group" "$pid" 2>/dev/null
  done
}

# A pump that died leaves a payload that would block on a full fifo: another one drains it. None begins once the end is there: whoever was
# told of an end is not told of output that may still come.
look_after_pump() {
  held pump.lock || [ -e drained ] || ! held leaf.lock && return 0
  { flock -n 3 && [ ! -e exit ] && replace_pump; } 3<limits
}

replace_pump() {
  raise truncated
  exec 7<>pipe
  start_pump
  exec 7>&-
}

# A leaf that died without a verdict took the exit code with it. Before the payload was noted it proves that it never ran.
look_after_leaf() {
  held leaf.lock || [ -e exit ] && return 0
  if [ ! -e payload ]; then
    verdict sup "rejected $died"
  elif [ -z "$(survivors)" ]; then
    verdict sup "lost $died"
  fi
}

# After the verdict: what is still in the fifo gets 2 s, and a child that keeps it open gets no more.
finish() {
  [ -e started ] || return 0
  patience=0
  while held pump.lock && [ "$patience" -lt 40 ]; do
    patience=$((patience + 1))
    sleep 0.05
  done
  if held pump.lock && [ -e pump ]; then
    read -r pump _ <pump
    kill -KILL "-$pump" 2>/dev/null
  fi
  forget_secrets
}

leaf_role() {
  trap 'woken=1' TERM INT HUP USR1 USR2
  setsid "$shell" ./run payload "$shell" </dev/null >pipe 2>&1 7>&- 8>&- &
  wait_for "$!"
  exec 7>&-
  if [ ! -e payload ]; then
    verdict leaf 'rejected payload-not-started'
    return
  fi
  cause=itself
  case $code in 129 | 130 | 137 | 143) cause=outside ;; esac
  [ -e expired ] && cause=deadline
  [ -e cancel ] && cause=cancel
  # What was to be stopped is said to have stopped when all of it has.
  while [ "$cause" = deadline ] || [ "$cause" = cancel ]; do
    [ -n "$(session)" ] || break
    sleep 0.1 5>&- 9>&-
  done
  # A power cut after the record must not leave less than was written.
  [ ! -f result ] || sync_files result
  verdict leaf "exited $code $cause"
}

# wait_for PID: its exit code into $code. A signal to this shell ends `wait` early, with a code that means nothing.
wait_for() {
  code=''
  while :; do
    woken=''
    wait "$1"
    waited=$?
    [ "$waited" = 127 ] && [ -n "$code" ] && return 0
    code=$waited
    [ -n "$woken" ] || return 0
  done
}

# The record comes first: without it the payload has not run, and the locks that say so are let go only then.
payload_role() {
  [ ! -e payload ] && note payload "$$" || exit 70
  exec 3>&- 9>&-
  SETTLED_STEP=$id SETTLED_OUTPUT=$PWD/result DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
  export SETTLED_STEP SETTLED_OUTPUT DEBIAN_FRONTEND NEEDRESTART_SUSPEND
  if [ -e secrets.at ]; then
    read -r SETTLED_SECRETS <secrets.at
    export SETTLED_SECRETS
  fi
  script=$PWD/script
  umask 022
  . ./env
  cd /
  unset OLDPWD
  exec "$shell" "$script"
}

# `ulimit -f` counts in units that differ between shells: the kernel tells which.
pump_role() {
  trap '' XFSZ TERM INT HUP
  read -r _ _ cap <limits
  ulimit -S -f 1
  while read -r word1 word2 word3 unit _; do
    [ "$word1 $word2 $word3" = 'Max file size' ] && break
  done </proc/self/limits
  ulimit -S -f $((cap / unit))
  cat >>out || raise truncated
  cat >/dev/null
  [ -e drained ] || mv -f drained.new drained
}

role=$1
shell=$2
home=$HOME
cd "${0%/*}" || exit 1
id=${PWD##*/}
"${role}_role"
exit 0
