"""Which pairs are fit to train on: what Moses's `clean-corpus-n.perl` keeps."""

from typing import NamedTuple, Optional

from rdrop_tools.arguments import at_least_one

LONGEST_WORD = 1000  # characters


class Limits(NamedTuple):
    """Lengths are in tokens."""

    min_length: int = 0
    max_length: Optional[int] = None
    ratio: Optional[float] = None  # of the longer side to the shorter

    def allow(self, pair):
        """Whether a tokenized (source, target) is fit to train on."""
        if not any(self):
            return True
        sides = [side.split() for side in pair]
        short, long = sorted(map(len, sides))
        if short < max(self.min_length, 1) or (self.max_length and long > self.max_length):
            return False
        if self.ratio and long / short > self.ratio:
            return False
        return all(len(word) <= LONGEST_WORD for side in sides for word in side)


def add_cleaning_arguments(parser):
    """Add `--min-length`, `--max-length` and `--ratio`; without them nothing is left out."""
    parser.add_argument(
        "--min-length", type=at_least_one, default=0, help="tokens of a side at least"
    )
    parser.add_argument("--max-length", type=at_least_one, help="tokens of a side at most")
    parser.add_argument("--ratio", type=float, help="of the longer side to the shorter at most")


def limits_of(args):
    """Return the :class:`Limits` that the arguments of :func:`add_cleaning_arguments` give."""
    return Limits(args.min_length, args.max_length, args.ratio)
