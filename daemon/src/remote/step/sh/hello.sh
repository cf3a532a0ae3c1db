# First contact: can this server be worked on, and who is it?

fact() {
  key=$1
  shift
  say fact "$key" "$(printf '%s' "$*" | tr '\000-\037\177' ' ')"
}

# need TOOL PACKAGE: it is there.
need() {
  command -v "$1" >/dev/null 2>&1 || refuse "the server has no \`$1\`: install the package $2"
}

# broken TOOL SENTENCE: it is there, and does not do what the step protocol needs.
broken() {
  refuse "\`$1\` on the server does not work as needed: $2"
}

hello_verb() {
  distribution
  [ -r /proc/uptime ] && [ -r /proc/sys/kernel/random/boot_id ] || refuse 'the server shows no /proc: mount it'
  for tool in base64 cat chmod cp date head id ln mkdir mkfifo mktemp mv readlink rm sleep sort stat sync tail tr uname wc; do
    need "$tool" coreutils
  done
  need flock util-linux
  need setsid util-linux
  need grep grep
  shell_kind
  open_state
  # By its number, a claim sees whether whoever made it still lives.
  work=$STATE/tmp/hello.$$-$nonce
  mkdir "$work" && cd "$work" || fail "$STATE cannot be written: is the disk full, or mounted read-only?"
  trap 'cd / && rm -rf -- "$work"' EXIT
  self_test
  identity
  system
  package_manager
  lane_holder
  done_with
}

# settled serves what it is tried on. A derivative is another distribution, with versions and habits of its own.
distribution() {
  os=''
  for file in $os_release; do
    [ ! -r "$file" ] || {
      os=$(. "$file" && printf '%s' "${ID:-}")
      os_version=$(. "$file" && printf '%s' "${VERSION_ID:-}")
      os_name=$(. "$file" && printf '%s\n' "${PRETTY_NAME:-$ID}" | { read -r name && printf '%s' "$name"; })
      break
    }
  done
  case $os in
  debian | ubuntu) ;;
  '') refuse 'the server does not say what it runs (in /etc/os-release): settled serves Debian and Ubuntu' ;;
  *) refuse "the server runs $os_name: settled serves Debian and Ubuntu" ;;
  esac
}

# The shells that the protocol is tried in.
shell_kind() {
  kind=$(readlink -f "$shell")
  case ${kind##*/} in
  dash | bash | busybox) ;;
  *) refuse "$shell on the server is ${kind##*/}: settled works with dash, bash and busybox as /bin/sh" ;;
  esac
}

self_test() {
  : >lock
  exec 9>>lock
  flock -n 9 || broken flock 'a descriptor of /bin/sh does not reach the programs that it starts; use dash, bash or busybox as /bin/sh'
  held lock || broken flock 'a lock that is held does not keep others out'
  exec 9>&-
  ! held lock || broken flock 'a lock that was let go is still held'
  setsid true </dev/null || broken setsid 'it fails'
  sleep 0.01 2>/dev/null || broken sleep 'it takes whole seconds only; install coreutils'
  printf 'AP8K' | base64 -d >bytes 2>/dev/null && [ "$(wc -c <bytes)" -eq 3 ] || broken base64 'it does not decode'
  [ "$(printf 'abcdef' | tail -c +3 | head -c 2)" = cd ] || broken 'head or tail' 'they do not count bytes'
  printf '%-511s\n' new 1<>bytes && [ "$(wc -c <bytes)" -eq 512 ] || broken printf 'it does not write over a file'
  sync_files bytes . || broken sync 'it fails'
  ln bytes linked 2>/dev/null && ! ln bytes linked 2>/dev/null || broken ln "the file system of $STATE has no hard links"
  mkfifo pipe || broken mkfifo "the file system of $STATE has no fifos"
  limit_test
}

# The limit of the output, as the pump sets it.
limit_test() {
  (
    trap '' XFSZ
    ulimit -S -f 1 || exit 1
    while read -r word1 word2 word3 unit _; do
      [ "$word1 $word2 $word3" = 'Max file size' ] && break
    done </proc/self/limits
    ulimit -S -f $((2048 / unit)) && head -c 8192 /dev/zero | cat >limited
  ) 2>/dev/null
  [ "$(wc -c <limited)" -eq 2048 ] || broken 'ulimit -f' 'it does not end a file at the limit'
}

identity() {
  machine=$(first_line /etc/machine-id)
  [ -n "$machine" ] || machine=$(first_line /var/lib/dbus/machine-id)
  [ -n "$machine" ] || refuse 'the server has no /etc/machine-id: make one with `systemd-machine-id-setup` or `dbus-uuidgen --ensure=/etc/machine-id`'
  boot
  read_epoch
  say machine "$machine"
  say boot "$boot"
  say epoch "$highest" "$owner"
  fact clock "$(date +%s)"
}

system() {
  fact os "$os"
  fact os_version "$os_version"
  fact os_name "$os_name"
  fact arch "$(uname -m)"
  fact kernel "$(uname -r)"
  fact host_name "$(uname -n)"
  fact user "$(id -un)"
  if [ "$uid" = 0 ] && [ -n "${SUDO_USER:-}" ]; then fact sudo "from $SUDO_USER"; else fact sudo no; fi
  fact shell "$kind"
  fact state_dir "$STATE"
  if [ -d /run/systemd/system ]; then fact init systemd; else fact init "$(first_line /proc/1/comm)"; fi
  if [ -d /run/systemd/system ] && [ "$uid" = 0 ]; then
    fact launcher systemd-run
  else
    fact launcher setsid
    cat /etc/systemd/logind.conf /etc/systemd/logind.conf.d/*.conf 2>/dev/null | grep -q '^KillUserProcesses=yes' &&
      fact warning 'KillUserProcesses=yes in logind.conf: running steps end with the connection'
  fi
  while read -r word value _; do
    [ "$word" = MemTotal: ] && fact memory_bytes $((value * 1024))
  done </proc/meminfo
  # shellcheck disable=SC2046 # four numbers
  set -- $(stat -f -c '%a %S %d %b' "$STATE")
  fact free_bytes $((${1:-0} * ${2:-0}))
  fact disk_bytes $((${4:-0} * ${2:-0}))
  fact free_inodes "${3:-0}"
  fact time_zone "$(zone)"
}

zone() {
  if [ -s /etc/timezone ]; then
    first_line /etc/timezone
  else
    zone=$(readlink -f /etc/localtime 2>/dev/null)
    case $zone in */zoneinfo/*) printf '%s' "${zone#*/zoneinfo/}" ;; *) date +%Z ;; esac
  fi
}

# Who has the lane: a step that runs, or one that somebody has started and nobody watches any more.
lane_holder() {
  held "$STATE/lane" || return 0
  for step in "$STATE/steps"/*; do
    [ -e "$step/started" ] && [ ! -e "$step/exit" ] && held "$step/lock" || continue
    read -r _ begun <"$step/started"
    now
    say lane "${step##*/}" "$(((now - begun) / 100))" \
      "$(cd "$step" && id=${step##*/} && survivors | in_a_row)"
  done
}

# While another program works, its work would look interrupted.
package_manager() {
  if ! command -v dpkg >/dev/null 2>&1; then
    fact dpkg absent
    return 0
  fi
  find_dpkg_holder
  if [ -n "$holder" ]; then
    fact dpkg locked
    say holder "$holder"
    return 0
  fi
  find_interrupted
  if [ -n "$interrupted" ]; then
    fact dpkg interrupted
    fact dpkg_interrupted "$interrupted"
  else
    fact dpkg ok
  fi
}
