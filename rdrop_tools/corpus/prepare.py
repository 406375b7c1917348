"""Make the tokenized train, valid and test sets of a benchmark from its published archives."""

import argparse
import contextlib
import itertools
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import NamedTuple, Optional

from rdrop_tools import manifest
from rdrop_tools.arguments import at_least_one
from rdrop_tools.atomic import atomic_folder
from rdrop_tools.corpus.cleaning import Limits, add_cleaning_arguments, limits_of
from rdrop_tools.corpus.raw_text import checksum_if_complete, locate_all, read_pairs
from rdrop_tools.corpus.sample import keep_sample
from rdrop_tools.corpus.sets import create_text
from rdrop_tools.corpus.table import SPLITS, CorpusError, read_table
from rdrop_tools.corpus.tokenization import Tokenization
from rdrop_tools.extras import MissingPackage, load
from rdrop_tools.parallel import add_workers_argument, map_chunks


class Settings(NamedTuple):
    """How text is made ready; the limits are for training text alone."""

    tokenization: Tokenization
    limits: Limits
    valid_every: Optional[int]
    train_pairs: Optional[int] = None


def process(pairs, languages, settings, is_training):
    """Return the tokenized pairs of a chunk, those that are not fit to train on as None."""
    limits = settings.limits if is_training else Limits()
    how = settings.tokenization
    tokenize = how.tokenize_as_training_text if is_training else how.tokenize
    sides = (
        [tokenize(line, language) for line in lines]
        for language, lines in zip(languages, zip(*pairs))
    )
    return [pair if limits.allow(pair) else None for pair in zip(*sides)]


def write_tokenized_sets(table, originals, settings, workers, folder):
    """Write {train,valid,test}.LANG into a folder; return how many pairs were read and kept.

    The result is a dictionary of texts, each with `read` and `kept`, and one of sets.
    """
    texts, sets = {}, Counter()
    kept_for_training = itertools.count(1)
    with contextlib.ExitStack() as stack:
        files = {
            (split, language): stack.enter_context(create_text(folder / f"{split}.{language}"))
            for split in SPLITS
            for language in table.languages
        }
        for text in table.texts:
            texts[text.name] = counts = Counter(read=0, kept=0)
            for pair in _processed(text, originals, table.languages, settings, workers):
                counts["read"] += 1
                if pair is None:
                    continue
                counts["kept"] += 1
                split = text.split
                if split == "train" and settings.valid_every:
                    is_held_out = next(kept_for_training) % settings.valid_every == 0
                    split = "valid" if is_held_out else "train"
                sets[split] += 1
                for language, line in zip(table.languages, pair):
                    files[split, language].write(line + "\n")
    return texts, sets


def _processed(text, originals, languages, settings, workers):
    """Yield the pairs of a text, tokenized, or None for one that is left out."""
    is_training = text.split == "train"
    work = partial(process, languages=languages, settings=settings, is_training=is_training)
    pairs = load("tqdm").tqdm(
        read_pairs(text, originals), text.name, total=text.pairs, unit=" pairs", disable=None
    )
    return itertools.chain.from_iterable(map_chunks(work, pairs, workers))


def chosen_texts(table, valid, valid_every):
    """Return the texts of a table that are to be read, the one named `valid` as validation set.

    Raises:
        CorpusError: the table has none of that name.
    """
    chosen = {"train", "test"} | (set() if valid or valid_every else {"valid"})
    texts = [text for text in table.texts if text.split in chosen]
    if valid:
        named = [text for text in table.texts if text.name == valid]
        if not named:
            names = ", ".join(text.name for text in table.texts)
            raise CorpusError(f"There is no text {valid}; the corpus description has {names}.")
        texts += [named[0]._replace(split="valid")]
    return texts


def inputs_of(table, originals):
    """Return the SHA-256 of every file that is to be read, once it is known to be complete."""
    files = ((text.archive, name) for text in table.texts for name in text.files)
    paths = locate_all(originals, files)
    return {str(path.relative_to(originals)): checksum_if_complete(path) for path in paths}


def report(table, inputs, texts, sets):
    """Print the counts, and what is not as in the published corpus."""
    for archive in table.archives:
        found, published = inputs.get(archive.file), archive.sha256
        if found and published and found != published:
            print(f"{archive.file}: SHA-256 {found}\n  not the {published} of the published one")
    for text in table.texts:
        counts = texts[text.name]
        print(f"{text.name}: {counts['read']:,} pairs, {counts['kept']:,} kept")
        if text.pairs not in (None, counts["read"]):
            print(f"  not the {text.pairs:,} pairs of the published one")
    print("corpus: " + ", ".join(f"{split} {sets[split]:,}" for split in SPLITS))
    for split, expected in table.expected.items():
        if sets[split] != expected:
            print(f"  not the {expected:,} pairs that {split} usually has")


def make_corpus(table_path, originals, out, settings, valid, workers):
    """Write the sets and their manifest into the new folder `out`."""
    table = read_table(table_path)
    table = table._replace(texts=chosen_texts(table, valid, settings.valid_every))
    with atomic_folder(out) as folder:
        inputs = inputs_of(table, originals)  # the quick check that all is there comes first
        texts, sets = write_tokenized_sets(table, originals, settings, workers, folder)
        if settings.train_pairs:
            keep_sample(folder, table.languages, settings.train_pairs)
            sets["train"] = settings.train_pairs
        empty = [split for split in SPLITS if not sets[split]]
        if empty:
            raise CorpusError(f"No pair is left for {' and '.join(empty)}: is the text too small?")
        stage = {
            "settings": described(settings, valid),
            "inputs": inputs,
            "texts": texts,
            "pairs": sets,
            "versions": manifest.versions("sacremoses"),
        }
        # What is held out of the training text was cleaned with it.
        cleaned = ["train", "valid"] if settings.valid_every else ["train"]
        about = {"description": table.description, "licence": table.licence}
        content = {"languages": table.languages, **about, "cleaned": cleaned, "corpus": stage}
        manifest.write(folder, content)
    report(table, inputs, texts, sets)


def described(settings, valid):
    """Return the settings as the manifest has them."""
    return {
        **settings.tokenization._asdict(),
        "limits": settings.limits._asdict(),
        "valid_every": settings.valid_every,
        "train_pairs": settings.train_pairs,
        "valid": valid,
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--corpus", type=Path, required=True, help="the corpus description, a corpus.json"
    )
    parser.add_argument(
        "--orig", type=Path, required=True, help="folder with its archives, unpacked or not"
    )
    parser.add_argument("--out", type=Path, required=True, help="new folder for the sets")
    parser.add_argument("--lowercase", action="store_true")
    parser.add_argument(
        "--normalize",
        action="store_true",
        help="normalise the punctuation of training text and remove what does not print",
    )
    parser.add_argument(
        "--aggressive-dash-splits", action="store_true", help="split words at hyphens (@-@)"
    )
    add_cleaning_arguments(parser)
    valid = parser.add_mutually_exclusive_group()
    valid.add_argument(
        "--valid-every",
        type=at_least_one,
        metavar="N",
        help="every N-th training pair goes to valid",
    )
    valid.add_argument("--valid", metavar="TEXT", help="the text of corpus.json that becomes valid")
    parser.add_argument(
        "--train-pairs",
        type=at_least_one,
        metavar="N",
        help="keep N training pairs, chosen by a hash of the source",
    )
    add_workers_argument(parser)
    args = parser.parse_args(argv)
    settings = Settings(
        Tokenization(args.lowercase, args.normalize, args.aggressive_dash_splits),
        limits_of(args),
        args.valid_every,
        args.train_pairs,
    )
    try:
        load("sacremoses")  # it is needed after the checksums of the archives, which take minutes
        make_corpus(args.corpus, args.orig, args.out, settings, args.valid, args.workers)
    except (CorpusError, MissingPackage, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
