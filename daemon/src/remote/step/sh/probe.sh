# A read-only script in the foreground: no lane, no record, output of both kinds up to a limit.

probe_verb() {
  uid=$(id -u)
  find_home
  export HOME="$home" LANG=C DEBIAN_FRONTEND=noninteractive
  work=$(mktemp -d) || fail 'no temporary directory can be made on the server: is its disk full?'
  trap 'rm -rf -- "$work"' EXIT
  export SETTLED_OUTPUT="$work/told"
  mkfifo "$work/pipe" || fail 'no fifo can be made on the server'
  # Held open here until the script is over, so that its end ends the reader.
  exec 7<>"$work/pipe"
  { head -c "$max" >"$work/out" && cat >/dev/null; } <"$work/pipe" 7>&- &
  reader=$!
  printf '%s' "$environment$script" >"$work/script" || fail 'the probe cannot be stored on the server: is its disk full?'
  setsid "$shell" "$work/script" </dev/null >"$work/pipe" 2>&1 7>&- &
  probe=$!
  setsid "$shell" -c "$probe_watch" watch "$probe" "$timeout" "$work" </dev/null >/dev/null 2>&1 7>&- &
  watch=$!
  wait "$probe"
  code=$?
  [ ! -e "$work/expired" ] || code=124
  kill -KILL "$watch" "-$watch" "-$probe" 2>/dev/null
  exec 7>&-
  patience=0
  while kill -0 "$reader" 2>/dev/null && [ "$patience" -lt 20 ]; do
    patience=$((patience + 1))
    sleep 0.05
  done
  say probed "$code"
  if [ -f "$work/told" ] && [ ! -L "$work/told" ]; then
    say result "$(head -c "$result_max" "$work/told" | base64 | tr -d '\n')"
  fi
  length=$(($(wc -c <"$work/out")))
  say data "$length"
  head -c "$length" "$work/out"
  printf '\n'
  done_with
}

# Lives on when the connection does not.
probe_watch='
  sleep "$2"
  : >"$3/expired"
  kill -TERM "-$1"
  sleep 2
  kill -KILL "-$1"
  rm -rf -- "$3"
'
