# For every package: how a run ends for good, and what to do about what settled itself left. `debian` begins with it.

# Ends the run: trying again would not help.
fail() {
    printf '%s\n' "$1" >&2
    exit 78
}

# The sentence for who finds on the server what the resource $1 has made; the other words are what is known of its values.
if_lost() {
    printf '%s' "If settled has no record of $1 any more, give it one, with the values that it has: settlectl adopt $SETTLED_PACKAGE --server SERVER --name $1"
    shift
    for value; do
        case $value in *[!A-Za-z0-9=_./:%@-]*) value="'$(printf '%s' "$value" | sed "s/'/'\\\\''/g")'" ;; esac
        printf '%s' " --set $value"
    done
}
