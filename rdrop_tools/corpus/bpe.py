"""Byte pair encoding by SentencePiece or subword-nmt: learn it from text, encode text with it."""

import functools
import io
import itertools

import sentencepiece

from rdrop_tools.extras import load

MODEL_FILES = {"sentencepiece": "spm.model", "subword-nmt": "codes"}
SAMPLE = 10_000_000  # lines that SentencePiece learns from at most; it holds them all in memory
CACHED_WORDS = 500_000  # of subword-nmt, which by itself would keep every word it ever met


def learn(method, lines, count, size, model):
    """Write to the file `model` a BPE of `size` pieces (SentencePiece) or merges (subword-nmt).

    Args:
        lines: an iterator over the text of all languages, `count` lines in all.
    """
    if method == "sentencepiece":
        model.write_bytes(_learn_sentencepiece(sample(lines, count), size))
    else:
        learn_bpe = load("subword_nmt.learn_bpe").learn_bpe
        with open(model, "w", encoding="utf-8") as codes:
            learn_bpe(lines, codes, size)


def sample(lines, count):
    """Return SAMPLE of `count` lines at most, evenly out of all of them and always the same ones.

    SentencePiece's own sample would be another one in every run.
    """
    return itertools.islice(lines, 0, None, max(1, -(-count // SAMPLE)))


def _learn_sentencepiece(lines, size):
    model = io.BytesIO()  # written by itself, the model would hold the names of temporary files
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines,
        model_writer=model,
        model_type="bpe",
        vocab_size=size,
        hard_vocab_limit=False,  # a sample of a corpus may not have that many
        character_coverage=0.9999,
        # Decoding must give back the exact text, as BLEU compares it with the raw reference.
        normalization_rule_name="identity",
        minloglevel=1,
    )
    return model.getvalue()


@functools.lru_cache(maxsize=1)
def encoder(method, model):
    """Return a function from a line to its subwords, separated by spaces."""
    if method == "sentencepiece":
        processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
        return lambda line: " ".join(processor.encode(line, out_type=str))
    with open(model, encoding="utf-8") as codes:
        bpe = load("subword_nmt.apply_bpe").BPE(codes)

    def encode(line):
        if len(bpe.cache) > CACHED_WORDS:
            bpe.cache.clear()
        return bpe.process_line(line)

    return encode
