"""Translates lines of text, whatever is in them: always as many results as lines."""

from typing import NamedTuple

from rdrop_tools.translation.reader import without_control

LONGEST_PART = 250  # subwords that are translated in one piece: no model was trained on more
BATCH_TOKENS = 4000  # of a batch, with its padding


class Translation(NamedTuple):
    """A translated line, and the score of its hypothesis; of several parts the mean."""

    text: str
    score: float


class Translator:
    """A preparation and an engine, in one.

    Args:
        is_prepared: the text is subwords already, separated by spaces, and so become tokens of it.
    """

    def __init__(self, engine, preparation, is_prepared=False):
        self.engine = engine
        self._preparation = preparation
        self._to_subwords = str.split if is_prepared else preparation.prepare
        self._to_text = preparation.join if is_prepared else preparation.restore

    def translate(self, lines):
        """Return for each line a list of :class:`Translation`, best first; empty for a blank one.

        A line of more than LONGEST_PART subwords is translated in parts.
        """
        parts = [self._parts(line) for line in lines]
        found = iter(self._search([part for line in parts for part in line]))
        return [self._joined([next(found) for _ in line]) for line in parts]

    def _parts(self, line):
        subwords = self._to_subwords(line)
        return self._preparation.parts(subwords, LONGEST_PART) if subwords else []

    def _search(self, sentences):
        """Return the hypotheses of each list of subwords, in their order."""
        results = [None] * len(sentences)
        for numbers in batches(sentences):
            found = self.engine.translate([sentences[number] for number in numbers])
            for number, hypotheses in zip(numbers, found):
                results[number] = hypotheses
        return results

    def _joined(self, parts):
        """Return the translations of a line: the nth is made of the nth hypothesis of each part."""
        return [
            Translation(
                without_control(" ".join(self._to_text(one.subwords) for one in hypotheses)),
                sum(one.score for one in hypotheses) / len(hypotheses),
            )
            for hypotheses in zip(*parts)
        ]


def batches(sentences):
    """Yield lists of the numbers of sentences of like length that fit into a batch."""
    batch, longest = [], 0
    for number in sorted(range(len(sentences)), key=lambda n: len(sentences[n])):
        longest = len(sentences[number]) + 1
        if batch and longest * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch
