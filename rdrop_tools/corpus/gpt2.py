"""Encode texts and summaries with the subwords of GPT-2, which BART was trained with.

Reads {train,val,test}.{source,target}, encoder.json and vocab.bpe. Writes {train,valid,test}, the
vocabulary and, in the folder `tokenized`, the validation and test sets as they were.
"""

import argparse
import contextlib
import itertools
import shutil
import sys
from functools import lru_cache, partial
from pathlib import Path

from rdrop_tools import manifest
from rdrop_tools.atomic import atomic_folder
from rdrop_tools.checksums import checksum
from rdrop_tools.corpus.raw_text import read_pairs
from rdrop_tools.corpus.sets import create_text
from rdrop_tools.corpus.table import CorpusError, Text
from rdrop_tools.parallel import add_workers_argument, map_chunks

SIDES = ("source", "target")
PUBLISHED = {"train": "train", "valid": "val", "test": "test"}
GPT2_FILES = ("encoder.json", "vocab.bpe")


@lru_cache(maxsize=1)
def encoder(folder):
    """Return fairseq's encoder of GPT-2, whose subwords RoBERTa and BART have too.

    Raises:
        CorpusError: the folder lacks one of GPT2_FILES.
    """
    for path in (folder / name for name in GPT2_FILES):
        if not path.exists():
            raise CorpusError(
                f"there is no {path}: fairseq's examples/roberta names the address of "
                f"{' and '.join(GPT2_FILES)}."
            )
    from fairseq.data.encoders.gpt2_bpe_utils import get_encoder

    return get_encoder(*(str(folder / name) for name in GPT2_FILES))


def encode_line(line, folder):
    """Return the numbers of the subwords of a line, separated by spaces."""
    return " ".join(map(str, encoder(folder).encode(line)))


def encode_pairs(pairs, folder):
    """Return the pairs of a chunk as the numbers of their subwords."""
    return [tuple(encode_line(line, folder) for line in pair) for pair in pairs]


def encode_set(split, orig, folder, workers):
    """Write both sides of a set, and return how many pairs it has."""
    name = PUBLISHED[split]
    text = Text(name, split, "plain", tuple(f"{name}.{side}" for side in SIDES))
    encoded = map_chunks(partial(encode_pairs, folder=orig), read_pairs(text, orig), workers)
    count = 0
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(create_text(folder / f"{split}.{side}")) for side in SIDES]
        for pair in itertools.chain.from_iterable(encoded):
            count += 1
            for file, line in zip(files, pair):
                file.write(line + "\n")
    if split != "train":
        for side in SIDES:
            shutil.copyfile(orig / f"{name}.{side}", folder / "tokenized" / f"{split}.{side}")
    return count


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--orig", type=Path, required=True, help="folder of what it reads")
    parser.add_argument("--out", type=Path, required=True, help="new folder for the sets")
    add_workers_argument(parser)
    args = parser.parse_args(argv)
    try:
        with atomic_folder(args.out) as folder:
            (folder / "tokenized").mkdir()
            pairs = {
                split: encode_set(split, args.orig, folder, args.workers) for split in PUBLISHED
            }
            for name in GPT2_FILES:
                shutil.copyfile(args.orig / name, folder / name)
            sums = {name: checksum(args.orig / name) for name in GPT2_FILES}
            manifest.write(folder, {"languages": SIDES, "pairs": pairs, "vocabulary": sums})
    except (CorpusError, OSError, ValueError) as error:
        sys.exit(f"{parser.prog}: {error}")
    print("subwords: " + ", ".join(f"{split} {count:,}" for split, count in pairs.items()))
