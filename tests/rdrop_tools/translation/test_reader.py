"""The reader of any text: a line for each line, whatever is in them, in bounded memory."""

import io
import os
import threading
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rdrop_tools.translation import reader
from rdrop_tools.translation.reader import LONGEST_LINE, NOT_UTF_8, TOO_LONG, Line, stream_lines


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a pipe does."""

    def __init__(self, pieces):
        self.pieces = [piece for piece in pieces if piece]

    def read(self, size=-1):
        return self.pieces.pop(0) if self.pieces else b""


LONGEST_OF_BYTES = "🙂".encode() * LONGEST_LINE


def lines_of(*pieces):
    return [line for lines in stream_lines(Trickle(pieces)) for line in lines]


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (b"", Line("")),
        (b"  \t ", Line("")),
        (b"a\x00b\tc", Line("a b c")),
        ("a\u2028b\x85c\x0bd".encode(), Line("a b c d")),
        (b"text\r", Line("text")),
        (b"a\rb", Line("a b")),
        (b"gr\xfc\xdfe", Line("gr\ufffd\ufffde", NOT_UTF_8)),
        (b"\xed\xa0\x80", Line("\ufffd" * 3, NOT_UTF_8)),
        ("\ufeffüber".encode(), Line("über")),
        ("soft\u00adhyphen\u200djoiner".encode(), Line("soft\u00adhyphen\u200djoiner")),
        (b"x" * LONGEST_LINE, Line("x" * LONGEST_LINE)),
        (b"x" * (LONGEST_LINE + 1), Line("", TOO_LONG)),
        ("ü".encode() * LONGEST_LINE, Line("ü" * LONGEST_LINE)),
        (b"x" * LONGEST_LINE + b"\r", Line("x" * LONGEST_LINE)),
        (b"x" * (LONGEST_LINE + 1) + b"\r", Line("", TOO_LONG)),
        ("\ufeff".encode() + LONGEST_OF_BYTES + b"\r", Line(LONGEST_OF_BYTES.decode())),
        ("\ufeff".encode() + LONGEST_OF_BYTES + b"x\r", Line("", TOO_LONG)),
        (b"\xff" * (5 * LONGEST_LINE), Line("", TOO_LONG)),
    ],
)
def test_what_becomes_of_a_line(raw, line):
    assert lines_of(raw + b"\nnext\n") == [line, Line("next")]
    assert lines_of(raw, b"\nnext\n") == [line, Line("next")]


def test_no_text_has_no_lines():
    assert lines_of() == []


def test_a_last_line_without_an_end_is_a_line():
    assert lines_of(b"one\ntwo") == [Line("one"), Line("two")]


def test_a_line_is_there_before_the_next_one_comes():
    stream = Trickle([b"one\ntw", b"o\nthree"])
    chunks = stream_lines(stream)
    assert next(chunks) == [Line("one")]
    assert stream.pieces == [b"o\nthree"]


def test_of_a_stream_that_does_not_block_no_line_is_lost():
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    with open(ours, "rb", buffering=0) as stream, open(theirs, "wb", buffering=0) as writer:
        writer.write(b"one\n")
        chunks = stream_lines(stream)
        assert next(chunks) == [Line("one")]
        later = threading.Timer(0.1, lambda: (writer.write(b"two\nthree"), writer.close()))
        later.start()
        assert list(chunks) == [[Line("two")], [Line("three")]]
        later.join()


@settings(deadline=None)
@given(st.lists(st.binary(max_size=30), max_size=20))
def test_as_many_lines_as_line_feeds_however_they_come(pieces):
    whole = b"".join(pieces)
    lines = lines_of(*pieces)
    assert len(lines) == whole.count(b"\n") + (whole != b"" and not whole.endswith(b"\n"))
    assert lines == lines_of(whole)
    for line in lines:
        assert len(line.text.splitlines()) <= 1 and line.text == line.text.strip()
        assert not any(ord(character) < 32 for character in line.text)


@settings(deadline=None)
@given(st.lists(st.text(max_size=20)))
def test_text_without_control_characters_stays_as_it_is(texts):
    clean = [reader.without_control(text) for text in texts]
    raw = "".join(f"{text}\n" for text in clean).encode("utf-8", "replace")
    if clean and raw.startswith(b"\xef\xbb\xbf"):
        raw = b"\n" + raw
        clean = ["", *clean]
    assert [line.text for line in lines_of(raw)] == [
        text.encode("utf-8", "replace").decode() for text in clean
    ]


def test_a_line_without_an_end_fills_no_memory():
    block = b"x" * reader.BLOCK
    tracemalloc.start()
    lines = lines_of(*[block] * 2000, b"\nnext\n")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert lines == [Line("", TOO_LONG), Line("next")]
    assert peak < 10 * 2**20  # of 125 MiB
