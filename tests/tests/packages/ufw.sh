#!/bin/sh
# ufw, as far as the package firewall_rule speaks with it: a firewall whose rules are the lines of a file beside this program, as
# `ufw show added` tells them. It is on, with the policy that the file `policy` names, if there is one. What it prints, how it ends, and which rule replaces which is what ufw 0.36.2 does.

rules=${0%/*}/rules

fault() {
    echo "ERROR: $1" >&2
    exit 1
}

# match WORD...: what a rule matches, as ufw tells it. Whether it is logged makes no other rule.
match() {
    [ "$1" != log ] || shift
    case "$1 $2" in
    'from any' | 'from 0.0.0.0/0' | 'from ::/0') match="$6${8:+/$8}" ;;
    *) match=$* ;;
    esac
    port=${match##*port }
    case "$port" in
    *:*/* | *:*' proto '*) ;;
    *:*) fault "Must specify 'tcp' or 'udp' with multiple ports" ;;
    esac
}

# match_of LINE: the same of a rule that is there.
match_of() {
    line=${1% comment \'*\'}
    line=${line#* }
    printf '%s' "${line#log }"
}

add() {
    action=$1
    shift
    words='' comment=''
    while [ $# -gt 0 ]; do
        if [ "$1" = comment ]; then
            case $2 in *\'*) fault 'Invalid syntax' ;; esac
            comment=" comment '$2'"
            shift $#
        else
            words="$words $1"
            shift
        fi
    done
    match $words
    new="$action $match$comment"
    case $words in ' log '*) new="$action log $match$comment" ;; esac
    if grep -qxF -e "$new" "$rules"; then
        echo 'Skipping adding existing rule'
        return
    fi
    replaced=''
    while IFS= read -r rule; do
        if [ "$(match_of "$rule")" = "$match" ]; then
            replaced=yes
            echo "$new"
        else
            echo "$rule"
        fi
    done <"$rules" >"$rules.new"
    [ -n "$replaced" ] || echo "$new" >>"$rules.new"
    mv "$rules.new" "$rules"
    echo 'Rules updated'
}

delete() {
    action=$1
    shift
    match "$@"
    deleted=''
    while IFS= read -r rule; do
        if [ "$(match_of "$rule")" = "$match" ] && [ "${rule%% *}" = "$action" ]; then
            deleted=yes
        else
            echo "$rule"
        fi
    done <"$rules" >"$rules.new"
    mv "$rules.new" "$rules"
    if [ -n "$deleted" ]; then echo 'Rules updated'; else echo 'Could not delete non-existent rule'; fi
}

set -f
[ -e "$rules" ] || : >"$rules"
case "$1 ${2-}" in
'status '*)
    if [ -e "${0%/*}/policy" ]; then
        printf '%s\n' 'Status: active' "Default: $(cat "${0%/*}/policy") (incoming), allow (outgoing), disabled (routed)"
    else
        echo 'Status: inactive'
    fi
    ;;
'prepend '*)
    shift
    before=$(cat "$rules")
    : >"$rules.none"
    (rules=$rules.none && add "$@" >/dev/null && cat "$rules" && printf '%s\n' "$before" | sed '/^$/d') >"$rules.first"
    mv "$rules.first" "$rules"
    echo 'Rule inserted'
    ;;
'show added')
    echo "Added user rules (see 'ufw status' for running firewall):"
    if [ -s "$rules" ]; then sed 's/^/ufw /' "$rules"; else echo '(None)'; fi
    ;;
'delete '*) shift && delete "$@" ;;
'allow '* | 'deny '* | 'reject '* | 'limit '*) add "$@" ;;
*) fault "Invalid syntax: $*" ;;
esac
