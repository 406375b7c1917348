"""Show the progress of a training whose JSON log comes in on standard input."""

import argparse
import sys
import time

from rdrop_tools.runs.log import parse_entry

SHOWN = {
    "train_inner": (("loss", "loss"), ("kl_loss", "kl")),
    "valid": (("ppl", "valid ppl"),),
}


def describe(kind, entry):
    """Return a short text of a log entry, such as `update 300  loss 6.10  kl 0.21`."""
    values = (f"  {label} {entry[name]:.2f}" for name, label in SHOWN[kind] if name in entry)
    return f"update {entry['num_updates']:6.0f}" + "".join(values)


def main(argv=None):
    argparse.ArgumentParser(description=__doc__).parse_args(argv)
    live = sys.stdout.isatty()
    start = time.monotonic()  # the log's own `wall` stands still after a resume
    for kind, entry in filter(None, map(parse_entry, sys.stdin)):
        if kind in SHOWN:
            minutes = (time.monotonic() - start) / 60
            line = f"  {minutes:5.1f} min  {describe(kind, entry)}"
            _show(line, live, passing=kind == "train_inner")


def _show(line, live, passing):
    """Print a line to stay or, on a terminal alone, one that the next replaces."""
    if live:
        print(f"\r{line}\033[K", end="" if passing else "\n", flush=True)
    elif not passing:
        print(line, flush=True)
