#!/usr/bin/env bash
# Where the programs of each benchmark were before the benchmark became an argument: names the new one.
program=$(basename "$0")
benchmark=$(basename "$(cd "$(dirname "$0")" && pwd)")
echo "$program: the benchmark is now an argument:" \
    "bash examples/translation/$program $benchmark$([ $# = 0 ] || printf ' %q' "$@")" >&2
exit 2
