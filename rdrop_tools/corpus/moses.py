"""Moses's tokenizer and punctuation normalisation: sacremoses, corrected where it differs."""

import re
from functools import cache

import regex

from rdrop_tools.extras import load

FINAL_FULL_STOP = re.compile(r"(?<=[^\s.])\.$")
NON_PRINTING = regex.compile(r"\p{C}")


@cache
def _tokenizer(lang):
    return load("sacremoses").MosesTokenizer(lang)


@cache
def _normalizer(lang):
    return load("sacremoses").MosesPunctNormalizer(lang, perl_parity=True)


def tokenize(line, lang, aggressive_dash_splits=False):
    """Return what Moses's `tokenizer.perl -l LANG` (`-a`) makes of a line.

    Spaces between tokens, XML's special characters escaped.
    """
    tokens = _tokenizer(lang).tokenize(
        line, aggressive_dash_splits=aggressive_dash_splits, return_str=True
    )
    return split_final_full_stop(tokens)


def split_final_full_stop(tokens):
    """Split the full stop off the last token, as `tokenizer.perl` always does.

    sacremoses leaves it at what looks like an abbreviation (`U.S.`, `usw.`), a letter or a number,
    which within a sentence is right. A final `...` stays whole in both.
    """
    return FINAL_FULL_STOP.sub(" .", tokens)


def normalize(line, lang):
    """Return a line as `normalize-punctuation.perl` and `remove-non-printing-char.perl` do."""
    # Perl sees the end of the line too, and makes `".` of `."` only where something follows.
    normalized = _normalizer(lang).normalize(line + "\n").rstrip("\n")
    return NON_PRINTING.sub(" ", normalized)
