"""Score summaries against their references: ROUGE-1, ROUGE-2 and ROUGE-L, by Google's rouge-score.

They are the means of the F scores of all summaries, in percent, with stemming; ROUGE-L is that of
whole summaries (rougeL) or, with --sentences, of their sentences (rougeLsum), as is usual for
CNN/DailyMail.
"""

import argparse
import re
import statistics
import sys

from rdrop_tools.extras import MissingPackage, load
from rdrop_tools.scoring.bleu import read_texts
from rdrop_tools.scoring.output import ScoringError, add_reference_argument, add_system_argument

SENTENCE_END = re.compile(r"(?<=[.!?]) +")


def rouge(hypotheses, references, by_sentence=False):
    """Return {name: percent} of ROUGE-1, ROUGE-2 and ROUGE-L over all pairs of texts.

    Raises MissingPackage if rouge-score is not installed.
    """
    RougeScorer = load("rouge_score.rouge_scorer").RougeScorer
    last = "rougeLsum" if by_sentence else "rougeL"
    names = {"ROUGE-1": "rouge1", "ROUGE-2": "rouge2", "ROUGE-L": last}
    scorer = RougeScorer(list(names.values()), use_stemmer=True)
    scores = [scorer.score(*map(as_lines, pair)) for pair in zip(references, hypotheses)]
    return {
        shown: 100 * statistics.mean(score[name].fmeasure for score in scores)
        for shown, name in names.items()
    }


def as_lines(text):
    """Return a text with a line for each sentence, which is what rougeLsum takes."""
    return SENTENCE_END.sub("\n", text)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add_system_argument(parser)
    add_reference_argument(parser)
    parser.add_argument("--sentences", action="store_true", help="ROUGE-L of sentences")
    args = parser.parse_args(argv)
    try:
        [hypotheses], references = read_texts([args.sys], args.ref, str)
        scores = rouge(hypotheses, references, args.sentences)
    except (ScoringError, MissingPackage, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    for name, percent in scores.items():
        print(f"{name} {percent:.2f}")
