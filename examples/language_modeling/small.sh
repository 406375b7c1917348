#!/usr/bin/env bash
# A small language model without and with R-Drop, from the download to the table: see --help.
set -euo pipefail

small_benchmarks=(interface_text interface_text_adaptive)
. "$(dirname "${BASH_SOURCE[0]}")/../lib/small.sh"

small_run "$@"
