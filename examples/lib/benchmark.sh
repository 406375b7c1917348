# shellcheck shell=bash
# What prepare.sh, train.sh and evaluate.sh share: a benchmark, its settings and its languages.

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
. "$lib/lock.sh"
. "$lib/signals.sh"

use_installation

# A benchmark is a folder with corpus.json or, in a task that has none, with settings.sh.
benchmarks=$(
    cd "$task_dir"
    shopt -s nullglob
    found=(*/corpus.json)
    [ ${#found[@]} -gt 0 ] || found=(*/settings.sh)
    echo "${found[@]%/*}"
)

# read_arguments BENCHMARK [OPTIONS]: the settings of the benchmark, then the options of the program,
# which it declares in `declare_options`, with the settings as defaults.
read_arguments() {
    if [[ ${1-} = -h || ${1-} = --help ]]; then
        benchmark=NAME # so that --help alone names the options too, without a benchmark's defaults
    else
        check_value "the first argument, the benchmark," "${benchmarks// /|}" "${1-}"
        benchmark=$1
        corpus_table=$task_dir/$benchmark/corpus.json
        . "$task_dir/$benchmark/settings.sh"
        shift
    fi
    declare_options
    parse_options "$@"
    check_out
}

# The two languages of the benchmark.
read_languages() {
    need_program python
    local languages
    languages=$(python -c '
import sys
from pathlib import Path
from rdrop_tools.corpus.table import CorpusError, read_table
try:
    print(*read_table(Path(sys.argv[1])).languages)
except CorpusError as error:
    sys.exit(str(error))' "$corpus_table") || exit 1
    read -r source target <<<"$languages"
}

# How fairseq is to join the subwords: as the preparation split them.
joining_of_subwords() {
    if [ -e "$out/subwords/spm.model" ]; then echo sentencepiece; else echo '@@ '; fi
}
