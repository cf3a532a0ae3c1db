# For packages that change what ufw lets in: where SSH comes in, and who would be shut out. ufw is written in Python, so that is there.

# For awk, on lines of ss: port and address of a socket, whether only this server itself reaches it, and the first process that has it.
SOCKETS='
function port(at,   n, part) { n = split(at, part, ":"); return part[n] }
function address(at) { sub(/:[^:]*$/, "", at); gsub(/[][]/, "", at); sub(/%.*/, "", at); sub(/^::ffff:/, "", at); return at }
function is_inside(at) { return address(at) ~ /^(127\.|::1$)/ }
function process(line) { return match(line, /pid=[0-9]+/) ? substr(line, RSTART, RLENGTH) : "" }'

need_ss() {
    command -v ss >/dev/null || fail "there is no ss on this server, which tells where SSH comes in: settlectl install apt_package --set package=iproute2"
}

# The SSH sessions that came in: port, address of this server, address of the client. What a session forwards is none.
ssh_sessions() {
    { ss -Htln && echo && ss -Htnp state established; } | awk "$SOCKETS"'
        NF == 0 { established = 1; next }
        !established { if (!is_inside($4)) open[port($4)]; next }
        /"sshd/ && port($3) in open && !is_inside($4) && address($3) != address($4) { print port($3), address($3), address($4) }' | sort -u
}

# The ports of these sessions, and those at which sshd itself is asked from outside: not what a session has it listen at.
ssh_ports() {
    {
        ssh_sessions | cut -d ' ' -f 1
        { ss -Htnp state established && echo && ss -Htlnp; } | awk "$SOCKETS"'
            NF == 0 { listening = 1; next }
            !listening { if (/"sshd/) while ((pid = process($0)) != "") { session[pid]; sub(pid, "") } next }
            /"sshd/ && !is_inside($4) && !(process($0) in session) { print port($4) }'
        { sshd -T 2>/dev/null || :; } | awk '$1 == "port" { print $2 }'
    } | sort -un
}

# Which sessions could not come in anew, if ufw had the rules on stdin, as `ufw show added` tells them, and the policy $1. With rules in $2, only
# sessions that one of those is about. Where no session is open, everybody counts.
shut_out() {
    sessions=$(ssh_sessions)
    [ -n "$sessions" ] || sessions=$(ssh_ports | sed 's/$/ any any/')
    [ -n "$sessions" ] || fail "cannot find out at which port SSH comes in, so the firewall is left as it is"
    python3 -I -c "$JUDGE" "$1" "${2-}" "$sessions" | paste -s -d , | sed 's/,/, /g'
}

# In doubt somebody is shut out: a rule for one interface lets nobody in and keeps everybody out, and one against addresses of IPv6 counts wherever
# it stands, since ufw keeps those apart.
JUDGE='
import ipaddress, re, sys

def inside(address, network):
    return address != "any" and ipaddress.ip_address(address) in ipaddress.ip_network(network, strict=False)

def fits(rule, session):
    if rule[0] not in ("allow", "limit", "deny", "reject"):
        return False
    closes = rule[0] in ("deny", "reject")
    port, here, client = session
    words = [word for word in rule[1:] if word not in ("log", "log-all")]
    if not words or words[0] == "out":
        return False
    if words[0] == "in":
        if not closes:
            return False
        words = words[3:]
    if words and words[0] not in ("from", "to", "proto"):
        target, _, protocol = words[0].partition("/")
        words = ["to", "any", "port", target] + (["proto", protocol] if protocol else [])
    side = None
    while words:
        word, value, words = words[0], words[1] if len(words) > 1 else "", words[2:]
        if word == "proto" and value != "tcp":
            return False
        if word in ("from", "to"):
            side = word
            at = client if word == "from" else here
            if value != "any" and not inside(at, value) and not (closes and at == "any"):
                return False
        if word in ("port", "app"):
            ports = {"OpenSSH": "22", "SSH": "22"}.get(value, value)
            if side == "from":
                if not closes:
                    return False
            elif not any(re.fullmatch("[0-9:]+", each) and int(each.split(":")[0]) <= port <= int(each.split(":")[-1])
                         for each in ports.split(",")):
                return False
    return True

def is_shut_out(rules, session, policy):
    if ":" in session[2] and any(rule[0] in ("deny", "reject") and "::" in " ".join(rule) and fits(rule, session) for rule in rules):
        return True
    for rule in rules:
        if fits(rule, session):
            return rule[0] not in ("allow", "limit")
    return policy != "allow"

def read(text):
    lines = (re.sub(" comment .*", "", line).split() for line in text.splitlines())
    return [line for line in lines if line]

policy, about, sessions = sys.argv[1], read(sys.argv[2]), sys.argv[3]
rules = read(sys.stdin.read())
for line in sessions.splitlines():
    port, here, client = line.split()
    session = (int(port), here, client)
    if (not about or any(fits(rule, session) for rule in about)) and is_shut_out(rules, session, policy):
        print("port %s from %s" % (port, "anywhere" if client == "any" else client))
'
