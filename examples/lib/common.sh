# shellcheck shell=bash
# What every program of the examples shares: where things are, and how it speaks to its user.

if [ "${BASH_VERSINFO[0]}${BASH_VERSINFO[1]}" -lt 44 ]; then
    echo "$0: bash $BASH_VERSION is too old, 4.4 or newer is needed." >&2
    exit 1
fi

unset CDPATH # where it is exported, cd prints where it went
program=$(basename "$0")
task_dir=$(cd "$(dirname "$0")" && pwd) # the folder of the program: translation, summarization, ...
lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$lib/../.." && pwd)

# The interface strings of this wheel are the text of several examples.
home_assistant_wheel=homeassistant-2026.2.3.whl

# Threads that wait for each other by spinning make a busy machine many times slower.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

say() { echo "==> $*"; }
die() { echo "$program: $*" >&2; exit 1; }
refuse() { echo "$program: $*; see --help." >&2; exit 2; }
already_made() { [ -e "$1" ] && say "already there: $1"; }
calculate() { LC_ALL=C awk "BEGIN { print $1 }"; } # with a decimal point in every language
count_cores() { python -c 'from rdrop_tools.parallel import CORES; print(CORES)'; }

# Uses the installation of scripts/install.sh, unless a virtual environment is active.
use_installation() {
    if [ -z "${VIRTUAL_ENV:-}" ] && [ -d "$repo/.venv/bin" ]; then PATH=$repo/.venv/bin:$PATH; fi
}

need_program() {
    command -v "$1" >/dev/null ||
        die "$1 is not installed here: run bash $repo/scripts/install.sh first"
}

# dated_by_its_start FILE COMMAND...: the command makes FILE, which gets the time at which it began. So it is
# older than what was made meanwhile.
dated_by_its_start() {
    local begun
    begun=$(date +%s.%N)
    "${@:2}" || return
    touch -d "@$begun" "$1"
}

# keep_settings FILE SETTINGS ADVICE: notes the settings, or refuses others than were noted.
keep_settings() {
    if [ ! -e "$1" ]; then
        echo "$2" >"$1.tmp"
        mv "$1.tmp" "$1"
    elif [ "$2" != "$(cat "$1")" ]; then
        die "${1%/*} was begun with other settings ($(cat "$1")): $3"
    fi
}

# $out, which becomes a part of what fairseq is given.
check_out() {
    case $out in
        '' | -*) refuse "--out is a folder whose name does not begin with -, not '$out'" ;;
        *[:,]*) refuse "--out must be a path without colons and commas, where fairseq would split it, not '$out'" ;;
    esac
}

. "$lib/options.sh"
