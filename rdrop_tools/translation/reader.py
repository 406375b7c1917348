"""Reads text of any origin line by line, in bounded memory, each line as soon as it is there.

Only a line feed, Windows's or not, ends a line. Control characters become spaces, bytes that are
not UTF-8 become U+FFFD, and of a line that is longer than any sentence nothing is kept.
"""

import codecs
import re
import select
from typing import NamedTuple, Optional

BLOCK = 2**16  # bytes that are asked for at a time
LONGEST_LINE = 2**14  # characters; longer than any paragraph
KEPT = 4 * LONGEST_LINE + 5  # bytes: one more than it has with a byte order mark and its \r
LINES_AT_A_TIME = 256
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

NOT_UTF_8 = "not UTF-8, the bad bytes became U+FFFD"
TOO_LONG = f"longer than {LONGEST_LINE:,} characters, left blank"


class Line(NamedTuple):
    """A line without control characters, and what was wrong with it."""

    text: str
    problem: Optional[str] = None


def stream_lines(stream):
    """Yield lists of :class:`Line`, each list once its lines are there.

    Args:
        stream: of bytes, unbuffered, so that it returns what there is without waiting for more.
    """
    pending, is_first = b"", True
    while block := _next_block(stream):
        *complete, pending = (pending + block).split(b"\n")
        pending = pending[:KEPT]  # enough to see that the line is too long
        for start in range(0, len(complete), LINES_AT_A_TIME):
            raw = complete[start : start + LINES_AT_A_TIME]
            if is_first:
                raw[0] = raw[0].removeprefix(codecs.BOM_UTF8)
                is_first = False
            yield [_line(line) for line in raw]
    if pending:
        yield [_line(pending.removeprefix(codecs.BOM_UTF8) if is_first else pending)]


def _next_block(stream):
    """Return bytes once there are some, none at the end, also of a stream that does not block."""
    while (block := stream.read(BLOCK)) is None:
        select.select([stream], [], [])
    return block


def _line(raw):
    raw = raw.removesuffix(b"\r")
    try:
        text, problem = raw.decode("utf-8"), None
    except UnicodeDecodeError:
        text, problem = raw.decode("utf-8", "replace"), NOT_UTF_8
    if len(text) > LONGEST_LINE:
        return Line("", TOO_LONG)
    return Line(without_control(text), problem)


def name_lines(count, first):
    """Return what to call some lines in a message."""
    return f"line {first:,}" if count == 1 else f"{count:,} lines, the first of them {first:,}"


def without_control(text):
    """Return text on one line: no control characters, no space at its ends."""
    return CONTROL.sub(" ", text).strip()
