# shellcheck shell=bash
# TERM and INT, which may reach this script alone, end what it has started too.

child='' # the process that runs now, or several
exec {stdout}>&1 {stderr}>&2 # for `stop`, which may run where a command's output goes elsewhere

trap 'stop TERM' TERM
trap 'stop INT' INT

# supervise COMMAND...: as the command alone, but the signals are passed on, which bash does not do by
# itself, and the command is named as the holder of the lock, since it may outlive this script.
supervise() {
    local status=0
    # bash has what runs in the background ignore INT
    (trap - INT TERM; name_holder; exec {stdout}>&- {stderr}>&-; exec "$@") <&0 &
    child=$!
    wait "$child" || status=$?
    child=''
    name_holder
    return "$status"
}

stop() {
    trap - INT TERM
    exec >&"$stdout" 2>&"$stderr"
    if [ -n "$child" ]; then
        # Ctrl-C has reached the child too, and a second one would disturb how it ends
        if [ "$1" = INT ]; then sleep 1; fi
        # shellcheck disable=SC2086
        kill -s "$1" $child 2>/dev/null || true
        # shellcheck disable=SC2086
        wait $child || true
    fi
    say_stopped
    exit $((128 + $(kill -l "$1")))
}

say_stopped() { echo "$program: stopped; the same command continues from here." >&2; }
