"""Make corpora of English alone from Home Assistant's interface strings: text, and headlines.

`text` is every string, for a language model: a string a line, its words separated by spaces, and
words that training text has only once or twice as <unk>. `headlines` is the descriptions and their
titles, to learn to write the title.
"""

import argparse
import re
import sys
from collections import Counter
from pathlib import Path

from rdrop_tools.atomic import atomic_folder
from rdrop_tools.corpus.interface_sets import most_frequent, split_of, write_interface_sets
from rdrop_tools.corpus.interface_wheel import (
    add_wheel_argument,
    is_text,
    provide_wheel,
    read_components,
)
from rdrop_tools.corpus.sets import describe_sets
from rdrop_tools.corpus.table import SPLITS, CorpusError

WORD = re.compile(r"\w+|[^\w\s]")
RARE = 2  # a word that training text has so often at most is <unk>, as in Wikitext-103
TITLE_OF = {"description": ("title", "name"), "data_description": ("data",)}


def text_corpus(components):
    """Return {split: [(line,), ...]} of all strings, each of them once."""
    distinct = {text for component in components for text in component.values() if is_text(text)}
    sets = split_sets((string, (WORD.findall(string),)) for string in distinct)
    counts = Counter(word for (words,) in sets["train"] for word in words)
    known = {word for word, count in counts.items() if count > RARE}
    return {
        split: [
            (" ".join(word if word in known else "<unk>" for word in words),) for (words,) in rows
        ]
        for split, rows in sets.items()
    }


def headline_corpus(components):
    """Return {split: [(description, title), ...]}; of several titles the most frequent one."""
    titles = {}
    for component in components:
        for key, string in component.items():
            title = next(filter(None, map(component.get, title_keys(key))), None)
            if title and title != string and is_text(string) and is_text(title):
                titles.setdefault(string, Counter())[title] += 1
    return split_sets((text, (text, most_frequent(found))) for text, found in titles.items())


def title_keys(key):
    """Return the keys that the title of a description may have, in the order of preference."""
    *parents, last = key
    if last in TITLE_OF:
        return [(*parents, name) for name in TITLE_OF[last]]
    if parents and parents[-1] in TITLE_OF:
        return [(*parents[:-1], name, last) for name in TITLE_OF[parents[-1]]]
    return []


def split_sets(rows):
    """Return {split: rows} of pairs of a string and a row, in an order that never changes."""
    sets = {split: [] for split in SPLITS}
    for string, row in sorted(rows):
        sets[split_of(string)].append(row)
    return sets


KINDS = {"text": (text_corpus, ("en",)), "headlines": (headline_corpus, ("description", "title"))}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("kind", choices=KINDS, help="what to make")
    add_wheel_argument(parser)
    parser.add_argument("--out", type=Path, required=True, help="new folder for the corpus")
    args = parser.parse_args(argv)
    make, names = KINDS[args.kind]
    try:
        provide_wheel(args.wheel)
        sets = make([english for (english,) in read_components(args.wheel)])
        with atomic_folder(args.out) as folder:
            write_interface_sets(sets, names, folder)
    except (CorpusError, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    print(f"corpus: {describe_sets(sets)}")
