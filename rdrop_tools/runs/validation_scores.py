"""Print the scores that fairseq-validate reports with `--log-format json`, a NAME VALUE a line."""

import argparse
import json
import re
import sys
from pathlib import Path

RESULT = re.compile(r'\| INFO \| (\S+) \| (\{"\1_.*\})$')
NO_SCORES = {"wps", "wpb", "bsz", "loss", "nll_loss"}


def read_validation(lines):
    """Yield (name, value as printed) of every score in the log."""
    for line in lines:
        found = RESULT.search(line.rstrip("\n"))
        if found:
            for key, value in json.loads(found[2]).items():
                key = key[len(found[1]) + 1 :]
                if key not in NO_SCORES:
                    yield key, value


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", type=Path, help="what fairseq-validate printed")
    args = parser.parse_args(argv)
    try:
        results = list(read_validation(args.log.read_text("utf-8").splitlines()))
    except (OSError, ValueError) as error:
        sys.exit(f"{parser.prog}: {error}")
    if not results:
        sys.exit(f"{parser.prog}: {args.log} holds no score of fairseq-validate.")
    for result in results:
        print(*result)
