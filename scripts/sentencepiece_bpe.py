#!/usr/bin/env python3
"""Learn a joint SentencePiece BPE on both sides of a corpus and encode every split with it."""

import argparse
import sys
from pathlib import Path

import sentencepiece
from whole import whole_folder

SPLITS = ("train", "valid", "test")


def learn(texts, prefix, vocab_size):
    """Write `prefix`.model and `prefix`.vocab, one BPE for all `texts` (paths)."""
    sentencepiece.SentencePieceTrainer.train(
        input=[str(text) for text in texts],
        model_prefix=str(prefix),
        model_type="bpe",
        vocab_size=vocab_size,
        hard_vocab_limit=False,  # a sample of a corpus may not have that many
        character_coverage=0.9999,
        # Decoding must give back the very text, as BLEU compares it with the raw reference.
        normalization_rule_name="identity",
        minloglevel=1,
    )


def encode(processor, text, encoded):
    """Write the pieces of each line of `text` (a path), separated by spaces, to `encoded`."""
    lines = text.read_text(encoding="utf-8").splitlines()
    pieces = processor.encode(lines, out_type=str)
    encoded.write_text("".join(" ".join(line) + "\n" for line in pieces), encoding="utf-8")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--corpus", type=Path, required=True, help="folder with {train,valid,test}.LANG"
    )
    parser.add_argument("--langs", nargs=2, required=True, metavar="LANG")
    parser.add_argument("--vocab-size", type=int, default=6000, help="pieces (%(default)s)")
    parser.add_argument(
        "--out", type=Path, required=True, help="new folder for spm.model and the encoded splits"
    )
    args = parser.parse_args(argv)
    try:
        with whole_folder(args.out) as folder:
            texts = [args.corpus / f"train.{lang}" for lang in args.langs]
            learn(texts, folder / "spm", args.vocab_size)
            processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "spm.model"))
            for name in (f"{split}.{lang}" for split in SPLITS for lang in args.langs):
                encode(processor, args.corpus / name, folder / name)
    except (OSError, RuntimeError) as error:  # the latter: sentencepiece's own
        sys.exit(f"{parser.prog}: {error}")
    print(f"{processor.get_piece_size():,} pieces in {args.out / 'spm.model'}")


if __name__ == "__main__":
    main()
