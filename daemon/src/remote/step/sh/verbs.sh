# The verbs. Each is idempotent and answers in frames; `end` is the last.

# What belongs to another installation is taken over only by $force, and then with an epoch that fences the other off.
claim_verb() {
  open_state
  outbid
  if [ -n "$owner" ] && [ "$owner" != "$installation" ]; then
    [ "$force" = 1 ] ||
      refuse "the server belongs to another installation of settled ($owner): if that one is to lose it, run \`settlectl server takeover $server_name\`"
    [ "$epoch" -gt "$highest" ] || done_with fenced "$highest"
  fi
  accept "$installation"
  sweep
  say claimed "$epoch"
  tombstones
  unlock
  steps
  done_with
}

start_verb() {
  open_state
  if [ "$dpkg" != unused ] && [ ! -d "$STATE/steps/$id" ]; then
    find_dpkg_holder
    [ -z "$holder" ] || done_with busy "$holder"
    [ "$dpkg" = repaired ] || find_interrupted
    [ -z "${interrupted-}" ] || done_with interrupted "$interrupted"
  fi
  fence
  if find_step; then
    [ "$(first_line "$step/digest")" = "$digest" ] || done_with conflict
    look "$step"
    [ "$state" != accepted ] || renew
  else
    [ ! -e "$STATE/cancelled/$id" ] || done_with step "$id" rejected 0 0 cancelled-before-start
    # Its record may have been lost while it runs.
    [ -z "$(marked)" ] || unknown
    build
    state=accepted
  fi
  [ "$state" != accepted ] || launch "$step"
  unlock
  settle_in
  look "$step"
  measure
  report
  done_with
}

# Waits up to 2.5 s until the payload has started, or will not.
settle_in() {
  patience=0
  while [ "$state" = accepted ] && [ ! -e "$step/payload" ] && [ ! -e "$step/exit" ] && [ "$patience" -lt 125 ]; do
    patience=$((patience + 1))
    sleep 0.02
  done
}

# The whole step, complete and durable under another name first; then accepted in one rename.
build() {
  new=$STATE/tmp/$id.$nonce
  choose_memory
  if (mkdir "$new" && cd "$new" && note_secrets secrets.at) 2>/dev/null && place_secrets "$new" &&
    (cd "$new" && fill) 2>/dev/null && mv "$new" "$step" && sync_files "$STATE/steps"; then
    return 0
  fi
  drop_secrets
  rm -rf -- "$new"
  [ ! -d "$step" ] || fail 'the step is stored on the server, and whether it would survive a power cut is unknown'
  done_with step "$id" rejected 0 0 disk
}

# In the new directory. Blocks and empty files are set aside now, so that nothing has to be allocated later.
fill() {
  printf '%s\n' "$digest" >digest && printf '%s\n' "$epoch" >epoch && printf '%s\n' "$limits" >limits &&
    printf '%s' "$script" >script && printf '%s' "$environment" >env && printf '%s' "$run" >run &&
    for name in started.new payload.new pump.new exit.sup exit.leaf; do
      printf '%-511s\n' - >"$name" || return 1
    done &&
    for name in cancel.new expired.new killed.new truncated.new drained.new out sup.lock lock leaf.lock pump.lock; do
      : >"$name" || return 1
    done &&
    mkfifo pipe && sync_files digest epoch limits script env run started.new payload.new pump.new exit.sup exit.leaf .
}

# It is there, and has not started: the newest owner's epoch counts, and its secrets may have been forgotten by a reboot.
renew() {
  choose_memory
  (cd "$step" && forget_secrets_of secrets.new && note_secrets secrets.new) 2>/dev/null && place_secrets "$step/secrets.new" &&
    printf '%s\n' "$epoch" >"$step/epoch.new" && mv -f "$step/epoch.new" "$step/epoch" &&
    { [ -z "$secrets_new" ] || { (cd "$step" && forget_secrets_of secrets.at) && mv -f "$step/secrets.new" "$step/secrets.at"; }; } &&
    sync_files "$step/epoch" "$step" || {
    drop_secrets
    fail 'the step cannot be stored on the server: is its disk full?'
  }
}

# Secrets live in memory only: in a folder on a tmpfs, $secrets_new when there are any.
choose_memory() {
  secrets_new=''
  [ "$secret_count" -gt 0 ] || return 0
  memory=/dev/shm
  [ "$uid" = 0 ] && is_tmpfs /run && memory=/run
  is_tmpfs "$memory" ||
    refuse 'the server has no tmpfs at /run or /dev/shm, and secrets are never written to a disk: mount one'
  secrets_new=$memory/settled-step-$id-$nonce
}

# note_secrets FILE: before the folder is there, so that it is found whenever its maker is killed.
note_secrets() {
  [ -z "$secrets_new" ] || printf '%s\n' "$secrets_new" >"$1"
}

# place_secrets NOTED: fills the folder; if that fails, what noted it goes away too.
place_secrets() {
  [ -n "$secrets_new" ] || return 0
  mkdir -m 700 "$secrets_new" && secrets && return 0
  drop_secrets
  rm -rf -- "$1"
  fail "secrets cannot be stored in $memory of the server: is it full?"
}

drop_secrets() {
  [ -z "$secrets_new" ] || rm -rf -- "$secrets_new"
}

# secret NAME BASE64: called by `secrets`, which the request brings.
secret() {
  printf '%s' "$2" | base64 -d >"$secrets_new/$1"
}

# The last mount on a place is the one that counts.
is_tmpfs() {
  type=''
  while read -r _ at kind _; do
    [ "$at" = "$1" ] && type=$kind
  done </proc/mounts
  [ "$type" = tmpfs ] || [ "$type" = ramfs ]
}

# The end is told at once. Output is gathered for a moment first: an answer for every line of a talkative step would cost the server more
# than the step.
attach_verb() {
  open_state
  find_step || unknown
  now
  gathered=$((now + 20)) until=$((now + wait)) ticks=0 state=running settled=0
  while :; do
    if [ -e "$step/exit" ] || [ $((ticks % 10)) = 0 ]; then
      look "$step"
      guard "$step"
    fi
    measure
    now
    [ "$settled" = 1 ] || [ "$state" = accepted ] || [ "$now" -ge "$until" ] && break
    [ "$((bytes - offset))" -ge "$max" ] && break
    [ "$bytes" -gt "$offset" ] && [ "$now" -ge "$gathered" ] && break
    ticks=$((ticks + 1))
    rest
  done
  length=$((bytes - offset))
  [ "$length" -ge 0 ] || length=0
  if [ "$length" -gt "$max" ]; then
    length=$max settled=0
  fi
  report
  say data "$length"
  [ "$length" = 0 ] || tail -c "+$((offset + 1))" "$step/out" | head -c "$length"
  printf '\n'
  done_with
}

cancel_verb() {
  open_state
  fence
  if ! find_step; then
    : >"$STATE/cancelled/$id" && sync_files "$STATE/cancelled" || fail 'the cancel cannot be stored on the server: is its disk full?'
    unknown
  fi
  look "$step"
  case $state in
  accepted | running | orphaned)
    (cd "$step" && raise cancel) || fail 'the cancel cannot be stored on the server'
    [ "$state" != accepted ] || (cd "$step" && verdict sup 'rejected cancelled-before-start')
    ;;
  esac
  look "$step"
  guard "$step"
  measure
  report
  done_with
}

# An operator knows what cannot be proven here. Only for a step that nobody supervises or that a KILL did not end: anything else can be
# cancelled. Its processes are not touched, its lane is free.
abandon_verb() {
  open_state
  fence
  if ! find_step; then
    [ -z "$(marked)" ] || bury || fail 'that it is given up cannot be stored on the server: is its disk full?'
    find_step || unknown
  fi
  look "$step"
  case $state in
  orphaned) give_up ;;
  running) [ ! -e "$step/killed" ] || give_up ;;
  esac
  look "$step"
  guard "$step"
  measure
  report
  done_with
}

# The leaf keeps the lane as long as the payload lives. It may have been waiting for years.
give_up() {
  (cd "$step" && verdict forced 'lost forced') || fail 'the verdict cannot be stored on the server: is its disk full?'
  for cwd in /proc/[0-9]*/cwd; do
    [ "$cwd" -ef "$step" ] || continue
    pid=${cwd#/proc/} pid=${pid%/cwd}
    case $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") in
    *' ./run leaf '*) kill -KILL "$pid" ;;
    esac
  done
}

reap_verb() {
  open_state
  fence
  step=$STATE/steps/$id
  if [ -d "$step" ]; then
    look "$step"
    if [ "$settled" = 0 ]; then
      measure
      report
      done_with
    fi
  fi
  bury || fail 'the step cannot be cleared away on the server: is its disk full?'
  done_with step "$id" reaped 0 0
}

# The tombstone first: whatever happens then, the step is never started again. Out of `steps`, it is gone; a supervisor that comes late
# may hold up its removal, which the next claim then does.
bury() {
  : >"$STATE/reaped/$id" && sync_files "$STATE/reaped" || return 1
  rm -f "$STATE/cancelled/$id"
  [ -d "$step" ] || return 0
  (cd "$step" && forget_secrets)
  mv "$step" "$STATE/tmp/$id.$nonce" || return 1
  # `started` before the rest: see `watch`.
  rm -f "$STATE/tmp/$id.$nonce/started"
  rm -rf -- "$STATE/tmp/$id.$nonce" 2>/dev/null || true
}

# Forgets what the caller names, whose store knows that no start of it can come any more. No age decides anything: the clock here may jump.
gc_verb() {
  open_state
  fence
  for id in $forget; do
    rm -f -- "$STATE/reaped/$id" "$STATE/cancelled/$id"
  done
  done_with forgotten
}

# Clears away what a kill has left half built. Whoever builds or buries holds the lock that the caller has.
sweep() {
  for old in "$STATE/tmp"/*; do
    builder=${old##*/hello.} builder=${builder%-*}
    [ -d "$old" ] && [ ! -e "/proc/$builder/stat" ] || continue
    (cd "$old" && forget_secrets)
    rm -rf -- "$old"
  done
}

# The oldest tombstones, by the time in their names.
tombstones() {
  for tomb in "$STATE/reaped"/* "$STATE/cancelled"/*; do
    [ ! -e "$tomb" ] || printf '%s\n' "${tomb##*/}"
  done | sort -u | head -n "$max" | while read -r id; do
    say tombstone "$id"
  done
}

list_verb() {
  open_state
  steps
  done_with
}

# All that live, and the first that have ended: who clears those away sees the next ones the next time. Of an end nothing else is told:
# looking for what it left behind takes a look at every process.
steps() {
  brief=1 over=0
  for step in "$STATE/steps"/*; do
    [ -e "$step/out" ] || continue
    [ ! -e "$step/exit" ] || over=$((over + 1))
    [ "$over" -le "$max" ] || [ ! -e "$step/exit" ] || continue
    id=${step##*/}
    look "$step"
    guard "$step"
    measure
    report
  done
}
