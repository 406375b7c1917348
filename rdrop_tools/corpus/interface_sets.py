"""Which set an interface string belongs to, and the sets of a corpus of such strings."""

import hashlib

from rdrop_tools import manifest
from rdrop_tools.corpus.interface_wheel import LICENCE, REQUIREMENT
from rdrop_tools.corpus.sets import write_lines
from rdrop_tools.corpus.table import CorpusError

MIN_WORDS_HELD_OUT = 4  # "Battery" or "Sign in" says little about a translator
VALID_PERCENT, TEST_PERCENT = 4, 8


def string_hash(string):
    """Return a hash of a string, in hexadecimal digits; case makes no difference."""
    return hashlib.sha256(string.lower().encode()).hexdigest()


def percentile(string):
    """Return a number from 0 to 99, the same for ever, by the hash of a string."""
    return int(string_hash(string)[-8:], 16) % 100


def split_of(string):
    """Return 'train', 'valid' or 'test' for a string, whatever else is in the corpus.

    Strings that differ only in case get the same split; short ones always go to training.
    """
    place = percentile(string)
    if len(string.split()) < MIN_WORDS_HELD_OUT or place >= VALID_PERCENT + TEST_PERCENT:
        return "train"
    return "valid" if place < VALID_PERCENT else "test"


def most_frequent(counts):
    """Return the string with the highest count, of several the first in the alphabet."""
    return min(counts, key=lambda string: (-counts[string], string))


def write_interface_sets(sets, names, folder):
    """Write {split: tuples of lines} as files SPLIT.NAME, and their manifest, into a folder.

    Raises:
        CorpusError: a set is empty.
    """
    for split, rows in sets.items():
        if not rows:
            corpus = "-".join(names)
            raise CorpusError(f"{corpus} has too few strings: nothing is left for {split}.")
        for name, lines in zip(names, zip(*rows)):
            write_lines(folder / f"{split}.{name}", lines)
    about = {"description": f"interface strings, {REQUIREMENT}", "licence": LICENCE}
    manifest.write(folder, {"languages": list(names), **about})
