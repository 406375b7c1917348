#!/usr/bin/env python3
"""Show the progress of a training whose JSON log comes in on standard input."""

import argparse
import signal
import sys

from training_log import parse_entry

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
    clock = ""
    for kind, entry in filter(None, map(parse_entry, sys.stdin)):
        if kind == "train_inner":
            clock = f"  {entry['wall'] / 60:5.1f} min  "
            if live:  # one line that keeps changing
                print(f"\r{clock}{describe(kind, entry)}\033[K", end="", flush=True)
        elif kind == "valid":
            erase = "\r\033[K" if live else ""
            print(f"{erase}{clock}{describe(kind, entry)}", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end of the training ends it
    main()
