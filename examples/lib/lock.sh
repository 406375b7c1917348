# shellcheck shell=bash
# One program at a time writes to a place.

lock='' # the file of the lock that this program holds

# hold FILE WHAT: takes the lock FILE. If another program holds it, this one stops and says that WHAT is in
# use. The lock is held until this program and all that it started have ended.
#
# The system's lock belongs to the open file, so every process that inherits the open file holds the lock too.
# FILE is opened as standard input because torchrun closes every other inherited file in its processes.
hold() {
    local python=${PYTHON:-python3}
    command -v "$python" >/dev/null || return 0 # the next step that needs it says that it is missing
    [ -w "$(dirname "$1")" ] || return 0        # so no program can write there
    exec <>"$1"
    host_and_time=$("$python" "$repo/rdrop_tools/lock.py" "$program" "$1" "$2") || exit 1
    lock=$1
    name_holder
}

# Names the process that calls it, which others are told.
name_holder() {
    [ -z "$lock" ] || echo "$program (process $BASHPID $host_and_time)" >"$lock" || true # a full disk
}
