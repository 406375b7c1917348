#!/usr/bin/env bash
# Headlines without and with R-Drop, from the download to the table: see --help.
set -euo pipefail

small_benchmarks=(headlines)
. "$(dirname "${BASH_SOURCE[0]}")/../lib/small.sh"

small_run "$@"
