"""Which pairs are kept: clean-corpus-n.perl's rules."""

import pytest

from rdrop_tools.corpus.cleaning import Limits


@pytest.mark.parametrize(
    "limits, pair, kept",
    [
        (Limits(), ("", ""), True),
        (Limits(1, 3), ("a", "b"), True),
        (Limits(1, 3), ("a b c", "d e f"), True),
        (Limits(1, 3), ("a b c d", "d e f"), False),
        (Limits(1, 3), ("", "b"), False),
        (Limits(1, 3), ("   ", "b"), False),
        (Limits(2, 3), ("a", "b c"), False),
        (Limits(1, 175, 1.5), ("a b c", "d e"), True),
        (Limits(1, 175, 1.5), ("d e", "a b c"), True),
        (Limits(1, 175, 1.5), ("a b c d", "e f"), False),
        (Limits(1, 175, 1.5), ("e f", "a b c d"), False),
        (Limits(1, 3), ("a" * 1000, "b"), True),
        (Limits(1, 3), ("a" * 1001, "b"), False),
    ],
)
def test_limits(limits, pair, kept):
    assert limits.allow(pair) is kept
