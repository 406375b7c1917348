"""Joins the words of Moses's tokenizer to a text again."""

from rdrop_tools.extras import load
from rdrop_tools.scoring.output import ScoringError


def detokenizer(language):
    """Return a function that joins a Moses-tokenized line to a text.

    Raises:
        ScoringError: sacremoses does not know the language; it would treat it as any.
        MissingPackage: sacremoses is not installed.
    """
    sacremoses = load("sacremoses")
    # those with a list of abbreviations, and two with rules for their characters alone
    known = {*sacremoses.corpus.NonbreakingPrefixes().available_langs.values(), "ja", "ko"}
    if language not in known:
        raise ScoringError(
            f"--detokenize is for the languages of Moses, {', '.join(sorted(known))}, "
            f"not '{language}'."
        )
    detokenize = sacremoses.MosesDetokenizer(lang=language).detokenize
    return lambda line: detokenize(line.split())
