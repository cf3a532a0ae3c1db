# For packages that could shut SSH out: at which ports it comes in, from where, and what rules of ufw do to it.

# The ports at which something listens that others can reach.
open_ports() {
    ss -Htln 2>/dev/null | awk '$4 !~ /^(127\.|\[::1\])/ { n = split($4, part, ":"); print part[n] }' | sort -u | tr '\n' ' '
}

# Port and address of the other side of each SSH session that came in. Connections that go out from here have ports of their own.
ssh_sessions() {
    ss -Htnp state established 2>/dev/null | awk -v open=" $(open_ports)" '
        /"sshd/ {
            n = split($3, part, ":")
            from = $4; sub(/:[0-9]*$/, "", from); gsub(/[][]/, "", from); sub(/^::ffff:/, "", from)
            if (index(open, " " part[n] " ")) print part[n], from
        }' | sort -u
}

# The ports at which SSH sessions come in now, and those where sshd listens; not what sessions forward on this server itself.
ssh_ports() {
    {
        ssh_sessions | cut -d ' ' -f 1
        ss -Htlnp 2>/dev/null | awk '/"sshd/ && $4 !~ /^(127\.|\[::1\])/ { n = split($4, part, ":"); print part[n] }'
        { sshd -T 2>/dev/null || :; } | awk '$1 == "port" { print $2 }'
    } | sort -un
}

# Whether the rules on stdin, as `ufw show added` tells them, let in what comes to port $1 from the address $2; without one, anything at all.
lets_in() {
    awk -v port="$1" -v from="${2-}" '
        function number(ip,   part) { split(ip, part, "."); return ((part[1] * 256 + part[2]) * 256 + part[3]) * 256 + part[4] }
        function within(ip, net,   part, size) {
            if (ip == net || net == "any") return 1
            if (split(net, part, "/") != 2 || net ~ /:/ || ip ~ /:/) return 0
            size = 2 ^ (32 - part[2])
            return int(number(ip) / size) == int(number(part[1]) / size)
        }
        function has(list,   all, one, n, i) {
            n = split(list, all, ",")
            for (i = 1; i <= n; i++) {
                if (all[i] == port) return 1
                if (split(all[i], one, ":") == 2 && one[1] + 0 <= port + 0 && port + 0 <= one[2] + 0) return 1
            }
            return 0
        }
        { sub(/^ufw /, ""); sub(/^prepend /, ""); sub(/ comment .*/, "") }
        $1 != "allow" && $1 != "limit" { next }
        $2 == "from" { source = $3; ports = $7; protocol = $8 == "proto" ? $9 : "any" }
        $2 != "from" { source = "any"; split($2, part, "/"); ports = part[1]; protocol = part[2] == "" ? "any" : part[2] }
        protocol == "udp" { next }
        (has(ports) || ports == "OpenSSH" || ports == "SSH") && (from == "" || within(from, source)) { found = 1 }
        END { exit !found }'
}
