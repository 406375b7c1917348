#!/usr/bin/env python3
"""Learn a joint BPE on both sides of a corpus and encode every set with it.

Training pairs beyond the limits are left out, also those that were held out for validation.
The folder `tokenized` has the validation and test pairs that were encoded, as they were before.
"""

import argparse
import contextlib
import functools
import io
import itertools
import shutil
import sys
from collections import deque
from pathlib import Path

import manifest
import sentencepiece
from checksums import checksum
from cleaning import Limits, add_cleaning_arguments, limits_of
from corpus_table import CorpusError, Text
from in_order import add_workers_argument, map_chunks
from raw_text import opened, read_pairs
from subword_nmt.apply_bpe import BPE
from subword_nmt.learn_bpe import learn_bpe
from tqdm import tqdm
from whole import whole_folder

SPLITS = ("train", "valid", "test")
SAMPLE = 10_000_000  # lines that SentencePiece learns from at most; it holds them all in memory
MODEL_FILES = {"sentencepiece": "spm.model", "subword-nmt": "codes"}
CACHED_WORDS = 500_000  # of subword-nmt, which by itself would keep every word it ever met


def learn_sentencepiece(texts, folder, size):
    """Write spm.model, one BPE of `size` pieces for all `texts` (paths)."""
    model = io.BytesIO()  # written by itself, the model would hold the names of temporary files
    with _sample(texts) as lines:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            model_type="bpe",
            vocab_size=size,
            hard_vocab_limit=False,  # a sample of a corpus may not have that many
            character_coverage=0.9999,
            # Decoding must give back the very text, as BLEU compares it with the raw reference.
            normalization_rule_name="identity",
            minloglevel=1,
        )
    (folder / "spm.model").write_bytes(model.getvalue())


def learn_subword_nmt(texts, folder, size):
    """Write the file `codes` with `size` merges, one BPE for all `texts` (paths)."""
    with _lines(texts) as lines, open(folder / "codes", "w", encoding="utf-8") as codes:
        learn_bpe(lines, codes, size)


@contextlib.contextmanager
def _sample(texts):
    """Yield SAMPLE lines at most, evenly out of all texts and always the same ones.

    SentencePiece's own sample would be another one in every run.
    """
    with _lines(texts) as lines:
        count = sum(1 for _ in lines)
    with _lines(texts) as lines:
        yield itertools.islice(lines, 0, None, max(1, -(-count // SAMPLE)))


@contextlib.contextmanager
def _lines(texts):
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(opened(text.parent, None, text.name)) for text in texts]
        yield itertools.chain.from_iterable(files)


LEARN = {"sentencepiece": learn_sentencepiece, "subword-nmt": learn_subword_nmt}


@functools.lru_cache(maxsize=1)
def encoder(method, model):
    """Return a function from a line to its subwords, separated by spaces."""
    if method == "sentencepiece":
        processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        return lambda line: " ".join(processor.encode(line, out_type=str))
    with open(model, encoding="utf-8") as codes:
        bpe = BPE(codes)

    def encode(line):
        if len(bpe.cache) > CACHED_WORDS:
            bpe.cache.clear()
        return bpe.process_line(line)

    return encode


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
            stack.enter_context(open(place / name, "w", encoding="utf-8", newline="\n"))
            for place in folders
            for name in text.files
        ]
        pairs, originals = itertools.tee(read_pairs(text, corpus))
        pairs = tqdm(pairs, f"encoding {text.name}", unit=" pairs", disable=None)
        encoded = itertools.chain.from_iterable(map_chunks(work, pairs, workers))
        for pair, original in zip(encoded, originals):
            read += 1
            if pair is not None:
                kept += 1
                for file, line in zip(files, (*pair, *original)):
                    file.write(line + "\n")
    return {"read": read, "kept": kept}


def cleaned_splits(history):
    """Return the sets that the limits apply to: training text, held out for validation or not.

    A text of its own is evaluated whole, as the manifest of the corpus tells.
    """
    try:
        is_held_out = history["corpus"]["settings"]["valid_every"]
    except (KeyError, TypeError):  # not made by prepare_corpus.py
        is_held_out = False
    return {"train", "valid"} if is_held_out else {"train"}


def make_subwords(args, folder):
    """Write the model, the encoded sets and their manifest into a folder."""
    history = manifest.read(args.corpus)
    texts = [
        Text(split, split, "plain", tuple(f"{split}.{lang}" for lang in args.langs))
        for split in SPLITS
    ]
    for text in texts:  # a mistake in the last of them shows before anything is learnt
        deque(read_pairs(text, args.corpus), maxlen=0)
    model = folder / MODEL_FILES[args.method]
    if args.model:
        shutil.copyfile(args.model, model)
    else:
        LEARN[args.method](
            [args.corpus / f"train.{lang}" for lang in args.langs], folder, args.size
        )
    (folder / "tokenized").mkdir()
    cleaned = cleaned_splits(history)
    pairs = {}
    for text in texts:
        limits = limits_of(args) if text.split in cleaned else Limits()
        work = functools.partial(encode_pairs, method=args.method, model=model, limits=limits)
        pairs[text.split] = encode_set(text, args.corpus, folder, work, args.workers)
    stage = {
        "settings": {"method": args.method, "size": args.size, "limits": limits_of(args)._asdict()},
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
        type=int,
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
        with whole_folder(args.out) as folder:
            pairs = make_subwords(args, folder)
    except (CorpusError, OSError, RuntimeError, ValueError) as error:
        # RuntimeError: sentencepiece's own
        sys.exit(f"{parser.prog}: {error}")
    counts = (f"{split} {counts['kept']:,}" for split, counts in pairs.items())
    print(f"{args.method} in {args.out}: " + ", ".join(counts))


if __name__ == "__main__":
    main()
