"""Tiny labelled sentences as fairseq's task sentence_prediction reads them."""

import random

from helpers.constants import NO_DROPOUT

LABELS = ("cat", "dog", "owl")
SENTENCES = (
    *("--task=sentence_prediction", "--init-token=0", "--max-positions=20"),
    *("--arch=roberta_base", "--encoder-layers=1", "--encoder-embed-dim=16"),
    *("--encoder-ffn-embed-dim=32", "--encoder-attention-heads=2"),
    *("--required-batch-size-multiple=1", "--criterion=rdrop_sentence_prediction"),
)
CLASSES = (*SENTENCES, "--num-classes=3")
NO_NOISE = (*NO_DROPOUT, "--pooler-dropout=0")
NUMBERS = (*SENTENCES, "--num-classes=1", "--regression-target")


def write_sentences(folder, labels, split="train", numbers=False):
    """Write one random sentence a label; a label is a word or, with `numbers`, a number."""
    from fairseq.data import Dictionary

    words, kinds = Dictionary(), Dictionary()
    for number in range(12):
        words.add_symbol(f"w{number}")
    for label in LABELS:
        kinds.add_symbol(label)
    chance = random.Random(split)
    texts = [" ".join(chance.choices(words.symbols[4:], k=chance.randint(2, 9))) for _ in labels]
    _binarize(folder / "input0", split, texts, words)
    if numbers:
        (folder / "label").mkdir(exist_ok=True)
        (folder / "label" / f"{split}.label").write_text("".join(f"{label}\n" for label in labels))
    else:
        _binarize(folder / "label", split, labels, kinds)
    return folder


def _binarize(folder, split, lines, dictionary):
    from fairseq.data import indexed_dataset

    folder.mkdir(parents=True, exist_ok=True)
    dictionary.save(str(folder / "dict.txt"))
    builder = indexed_dataset.make_builder(f"{folder}/{split}.bin", "mmap", len(dictionary))
    for line in lines:
        builder.add_item(dictionary.encode_line(line, add_if_not_exist=False))
    builder.finalize(f"{folder}/{split}.idx")
