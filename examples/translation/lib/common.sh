# What the scripts of every benchmark share: where things are, languages, messages.
# Sourced by a script in a folder of examples/translation, which is named after the benchmark.

if [ "${BASH_VERSINFO[0]}${BASH_VERSINFO[1]}" -lt 44 ]; then
    echo "$0: bash $BASH_VERSION is too old, 4.4 or newer is needed." >&2
    exit 1
fi

benchmark_dir=$(cd "$(dirname "$0")" && pwd)
benchmark=$(basename "$benchmark_dir")
repo=$(cd "$benchmark_dir/../../.." && pwd)
program=$(basename "$0")
table=$benchmark_dir/corpus.json
out=$repo/runs/$benchmark

. "$(dirname "${BASH_SOURCE[0]}")/checkpoints.sh"

# Threads that wait for each other by spinning make a busy machine many times slower.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}
# The installation of scripts/install.sh, unless a virtual environment is active.
if [ -z "${VIRTUAL_ENV:-}" ] && [ -d "$repo/.venv/bin" ]; then PATH=$repo/.venv/bin:$PATH; fi

say() { echo "==> $*"; }
die() { echo "$program: $*" >&2; exit 1; }
trap 'echo "$program: stopped; the same command continues from here." >&2; exit 130' INT TERM
refuse() { echo "$program: $*; see --help." >&2; exit 2; }
there() { [ -e "$1" ] && say "already there: $1"; }
needs_value() { [ "$1" -ge 2 ] || refuse "$2 needs a value"; }

whole_number() {
    case $2 in
        '' | *[!0-9]* | 0*) refuse "$1 must be a whole number above 0, not '$2'" ;;
    esac
}

need_program() {
    command -v "$1" >/dev/null ||
        die "$1 is not installed here: run bash $repo/scripts/install.sh first"
}

# The two languages of the benchmark.
read_languages() {
    need_program python
    read -r source target < <(python -c '
import json, sys
print(*json.load(open(sys.argv[1]))["languages"])' "$table")
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

# How fairseq is to join the subwords: as the preparation split them.
joining_of_subwords() {
    if [ -e "$out/subwords/spm.model" ]; then echo sentencepiece; else echo '@@ '; fi
}
