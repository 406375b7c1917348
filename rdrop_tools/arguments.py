"""What several programs accept on their command lines."""

import argparse
import os
from pathlib import Path


def named_path(text):
    """Split `NAME=FILE` into its parts; a FILE that exists as given is its own name."""
    name, separator, path = text.partition("=")
    return (name, Path(path)) if separator and not os.path.exists(text) else (text, Path(text))


def at_least_one(text):
    """Return a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, not '{text}'")
    return int(text)
