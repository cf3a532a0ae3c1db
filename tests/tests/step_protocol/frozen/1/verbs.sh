# The verbs. Each is idempotent and answers in frames; `end` is the last.

claim_verb() {
  open_state
  lock_state
  read_epoch
  if [ -n "$owner" ] && [ "$owner" != "$installation" ]; then
    refuse "the server belongs to another installation of settled ($owner): if that one is gone, take it over with \`settlectl server takeover\`"
  fi
  [ "$highest" -le "$epoch" ] || done_with fenced "$highest"
  [ "$highest $owner" = "$epoch $installation" ] || write_epoch "$epoch" "$installation"
  sweep
  done_with claimed "$epoch"
}

# Once a day: tombstones of 30 days, verdicts that nobody fetched in 14, and what a power cut left half built.
sweep() {
  [ -z "$(find "$STATE/swept" -mtime -1 2>/dev/null)" ] || return 0
  find "$STATE/reaped" "$STATE/cancelled" -type f -mtime +30 -exec rm -f -- {} + 2>/dev/null
  find "$STATE/tmp" -mindepth 1 -maxdepth 1 -mtime +1 -exec rm -rf -- {} + 2>/dev/null
  find "$STATE/steps" -mindepth 2 -maxdepth 2 -name exit -mtime +14 2>/dev/null | while read -r old; do
    id=${old%/exit} id=${id##*/} step=${old%/exit}
    bury
  done
  : 2>/dev/null >"$STATE/swept"
}

start_verb() {
  open_state
  if [ "$needs_dpkg" = 1 ] && [ ! -d "$STATE/steps/$id" ]; then
    find_dpkg_holder
    [ -z "$holder" ] || done_with busy "$holder"
  fi
  fence
  if find_step; then
    [ "$(first_line "$step/digest")" = "$digest" ] || done_with conflict
    look "$step"
    [ "$state" != accepted ] || renew
  else
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
  place_secrets
  if (mkdir "$new" && cd "$new" && fill) 2>/dev/null && mv "$new" "$step" && sync_files "$STATE/steps"; then
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
    for name in cancel.new expired.new truncated.new drained.new out sup.lock lock leaf.lock pump.lock; do
      : >"$name" || return 1
    done &&
    mkfifo pipe && { [ -z "$secrets_new" ] || printf '%s\n' "$secrets_new" >secrets.at; } &&
    sync_files digest epoch limits script env run started.new payload.new pump.new exit.sup exit.leaf .
}

# It is there, and has not started: the newest owner's epoch counts, and its secrets may have been forgotten by a reboot.
renew() {
  place_secrets
  printf '%s\n' "$epoch" >"$step/epoch.new" && mv -f "$step/epoch.new" "$step/epoch" &&
    { [ -z "$secrets_new" ] || { (cd "$step" && forget_secrets) && printf '%s\n' "$secrets_new" >"$step/secrets.new" &&
      mv -f "$step/secrets.new" "$step/secrets.at"; }; } && sync_files "$step/epoch" "$step" || {
    drop_secrets
    fail 'the step cannot be stored on the server: is its disk full?'
  }
}

# Secrets live in memory only: a folder on a tmpfs, named in the step's directory.
place_secrets() {
  secrets_new=''
  [ "$secret_count" -gt 0 ] || return 0
  memory=/dev/shm
  [ "$uid" = 0 ] && is_tmpfs /run && memory=/run
  is_tmpfs "$memory" ||
    refuse 'the server has no tmpfs at /run or /dev/shm, and secrets are never written to a disk: mount one'
  secrets_new=$memory/settled-step-$id-$nonce
  if ! mkdir -m 700 "$secrets_new" || ! secrets; then
    drop_secrets
    fail "secrets cannot be stored in $memory of the server: is it full?"
  fi
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

attach_verb() {
  open_state
  find_step || done_with step "$id" absent 0 0
  now
  until=$((now + wait)) ticks=0 state=running settled=0
  while :; do
    if [ -e "$step/exit" ] || [ $((ticks % 10)) = 0 ]; then
      look "$step"
      guard "$step"
    fi
    measure
    now
    [ "$bytes" -gt "$offset" ] || [ "$settled" = 1 ] || [ "$state" = accepted ] || [ "$now" -ge "$until" ] && break
    ticks=$((ticks + 1))
    sleep 0.05
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
    find_step
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

# The tombstone first: whatever happens then, the step is never started again.
bury() {
  : >"$STATE/reaped/$id" && sync_files "$STATE/reaped" || return 1
  rm -f "$STATE/cancelled/$id"
  [ -d "$step" ] || return 0
  (cd "$step" && forget_secrets)
  mv "$step" "$STATE/tmp/$id.$nonce" && rm -rf -- "$STATE/tmp/$id.$nonce"
}

list_verb() {
  open_state
  for step in "$STATE/steps"/*; do
    [ -e "$step/out" ] || continue
    id=${step##*/}
    look "$step"
    guard "$step"
    measure
    report
  done
  done_with
}
