"""Print what fairseq-validate reports with `--log-format json`: SET NAME VALUE, a line each."""

import argparse
import json
import re
import sys
from pathlib import Path

RESULT = re.compile(r'\| INFO \| (\S+) \| (\{"\1_.*\})$')
SPEED = {"wps", "wpb", "bsz"}


def read_validation(lines):
    """Yield (set, name, value as printed) of every result in the log."""
    for line in lines:
        found = RESULT.search(line.rstrip("\n"))
        if found:
            name = found[1]
            for key, value in json.loads(found[2]).items():
                key = key[len(name) + 1 :]
                if key not in SPEED:
                    yield name, key, value


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path, help="what fairseq-validate printed")
    args = parser.parse_args(argv)
    try:
        results = list(read_validation(args.log.read_text("utf-8").splitlines()))
    except (OSError, ValueError) as error:
        sys.exit(f"{parser.prog}: {error}")
    if not results:
        sys.exit(f"{parser.prog}: {args.log} holds no result of fairseq-validate.")
    for result in results:
        print(*result)
