"""Learn a joint BPE on both sides of a corpus and encode every set with it.

Pairs beyond the limits are left out of the sets that the manifest of the corpus names as `cleaned`:
training text, held out for validation or not. Without a manifest that is `train` alone. The folder
`tokenized` has the validation and test pairs that were encoded, as they were before.
"""

import argparse
import contextlib
import itertools
import shutil
import sys
from functools import partial
from pathlib import Path

from rdrop_tools import manifest
from rdrop_tools.arguments import at_least_one
from rdrop_tools.atomic import atomic_folder
from rdrop_tools.checksums import checksum
from rdrop_tools.corpus.bpe import MODEL_FILES, encoder, learn
from rdrop_tools.corpus.cleaning import Limits, add_cleaning_arguments, limits_of
from rdrop_tools.corpus.raw_text import open_lines, read_pairs
from rdrop_tools.corpus.sets import create_text
from rdrop_tools.corpus.table import SPLITS, CorpusError, Text
from rdrop_tools.extras import MissingPackage, load
from rdrop_tools.parallel import add_workers_argument, map_chunks


def encode_pairs(pairs, method, model, limits):
    """Return the encoded pairs of a chunk; those beyond the limits as None."""
    encode = encoder(method, model)
    encoded = (tuple(map(encode, pair)) for pair in pairs)
    return [pair if limits.allow(pair) else None for pair in encoded]


def encode_set(text, corpus, folder, work, workers):
    """Encode one set, a file a language; return how many pairs were read and kept.

    The pairs that are kept of another set than train are also written to the folder `tokenized`,
    line by line the references of their translations.
    """
    read = kept = 0
    folders = [folder] if text.split == "train" else [folder, folder / "tokenized"]
    with contextlib.ExitStack() as stack:
        files = [
            stack.enter_context(create_text(place / name))
            for place in folders
            for name in text.files
        ]
        pairs, tokenized = itertools.tee(read_pairs(text, corpus))
        tqdm = load("tqdm").tqdm
        pairs = tqdm(pairs, f"encoding {text.name}", unit=" pairs", disable=None)
        encoded = itertools.chain.from_iterable(map_chunks(work, pairs, workers))
        for pair, before in zip(encoded, tokenized):
            read += 1
            if pair is not None:
                kept += 1
                for file, line in zip(files, (*pair, *before)):
                    file.write(line + "\n")
    return {"read": read, "kept": kept}


def make_model(args, train, count, model):
    """Copy the model that is asked for, or learn one from both sides of the `count` pairs."""
    if args.model:
        shutil.copyfile(args.model, model)
        return
    with contextlib.ExitStack() as stack:
        sides = [stack.enter_context(open_lines(args.corpus, None, name)) for name in train.files]
        lines = itertools.chain.from_iterable(sides)
        learn(args.method, lines, len(sides) * count, args.size, model)


def make_subwords(args, folder):
    """Write the model, the encoded sets and their manifest into a folder."""
    history = manifest.read(args.corpus)
    cleaned = history.get("cleaned", ["train"])
    texts = [
        Text(split, split, "plain", tuple(f"{split}.{lang}" for lang in args.langs))
        for split in SPLITS
    ]
    # A mistake in the last of them shows before anything is learnt.
    counts = [sum(1 for _ in read_pairs(text, args.corpus)) for text in texts]
    model = folder / MODEL_FILES[args.method]
    make_model(args, texts[0], counts[0], model)
    (folder / "tokenized").mkdir()
    pairs = {}
    for text in texts:
        limits = limits_of(args) if text.split in cleaned else Limits()
        work = partial(encode_pairs, method=args.method, model=model, limits=limits)
        pairs[text.split] = encode_set(text, args.corpus, folder, work, args.workers)
    stage = {
        "settings": {
            "method": args.method,
            "size": None if args.model else args.size,
            "limits": limits_of(args)._asdict(),
        },
        "model": checksum(model),
        "pairs": pairs,
        "versions": manifest.versions(args.method),
    }
    manifest.write(folder, {**history, "subwords": stage})
    return pairs


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--corpus", type=Path, required=True, help="folder with {train,valid,test}.LANG"
    )
    parser.add_argument("--langs", nargs=2, required=True, metavar="LANG")
    parser.add_argument(
        "--method", choices=MODEL_FILES, default="sentencepiece", help="(%(default)s)"
    )
    parser.add_argument(
        "--size",
        type=at_least_one,
        default=6000,
        help="pieces of sentencepiece, or merges of subword-nmt (%(default)s)",
    )
    parser.add_argument("--model", type=Path, help="take this spm.model or codes, learn none")
    parser.add_argument(
        "--out", type=Path, required=True, help="new folder for the model and the encoded sets"
    )
    add_cleaning_arguments(parser)
    add_workers_argument(parser)
    args = parser.parse_args(argv)
    try:
        load("tqdm")  # it is needed after learning, which takes minutes
        with atomic_folder(args.out) as folder:
            pairs = make_subwords(args, folder)
    except (CorpusError, MissingPackage, OSError, RuntimeError, ValueError) as error:
        # RuntimeError: sentencepiece's own
        sys.exit(f"{parser.prog}: {error}")
    counts = (f"{split} {counts['kept']:,}" for split, counts in pairs.items())
    print(f"{args.method} in {args.out}: " + ", ".join(counts))
