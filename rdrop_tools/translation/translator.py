"""Translates lines of text, whatever is in them: always as many results as lines."""

import itertools
from typing import NamedTuple

from rdrop_tools.translation.folder import TranslationError, first_line
from rdrop_tools.translation.reader import name_lines, without_control

LONGEST_PART = 250  # subwords that are translated in one piece: no model was trained on more
BATCH_TOKENS = 4000  # of a batch, with its padding
BUCKET = 8  # sentences of 1 to 8 subwords may share a batch, of 9 to 16, and so on

# A translation has at most so many subwords for each one of the longest sentence in its bucket, and
# so many more: enough for every language, and an end for a model that never comes to one. Since it
# depends on nothing else, the other lines of a text change no translation.
MAX_LENGTH_A, MAX_LENGTH_B = 2, 10


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
        self._longest_part = min(LONGEST_PART, engine.longest)
        self._preparation = preparation
        self._to_subwords = str.split if is_prepared else preparation.prepare
        self._to_text = preparation.join if is_prepared else preparation.restore

    def translate(self, lines, first=1):
        """Return for each line a list of :class:`Translation`, best first; empty for a blank one.

        A line of more than LONGEST_PART subwords, or than the model takes, is translated in parts.

        Args:
            first: the number of the first line in the text.

        Raises:
            TranslationError: the engine failed, for want of memory for example.
        """
        parts = [self._parts(line) for line in lines]
        owners = [number for number, line in enumerate(parts, first) for _ in line]
        found = iter(self._search([part for line in parts for part in line], owners))
        return [self._joined([next(found) for _ in line]) for line in parts]

    def _parts(self, line):
        subwords = self._to_subwords(line)
        return self._preparation.parts(subwords, self._longest_part) if subwords else []

    def _search(self, sentences, owners):
        """Return the hypotheses of each list of subwords, in their order.

        Args:
            owners: for each of them the number of its line.
        """
        results = [None] * len(sentences)
        for numbers, limit in batches(sentences):
            try:
                found = self.engine.translate([sentences[number] for number in numbers], limit)
            except (RuntimeError, IndexError, MemoryError) as error:
                raise _not_translated({owners[number] for number in numbers}, error) from error
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


def _not_translated(lines, error):
    reason = f"{type(error).__name__}: {first_line(error)}"
    return TranslationError(
        f"{name_lines(len(lines), min(lines))}: not translated, since the engine ended with "
        f"{reason}: try --beam 1, --cpu or shorter lines."
    )


def batches(sentences):
    """Yield the numbers of sentences that make a batch, and the limit of their translations."""
    order = sorted(range(len(sentences)), key=lambda number: len(sentences[number]))
    for bucket, numbers in itertools.groupby(order, lambda n: -(-len(sentences[n]) // BUCKET)):
        numbers = list(numbers)
        longest = bucket * BUCKET + 1  # with the end of the sentence, as fairseq counts
        size = max(1, BATCH_TOKENS // longest)
        for start in range(0, len(numbers), size):
            yield numbers[start : start + size], MAX_LENGTH_A * longest + MAX_LENGTH_B
