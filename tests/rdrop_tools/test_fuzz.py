"""Any bytes at all: the readers give a result or their documented error, and in good time.

The programs' other tests say what the right result is.
"""

import contextlib
import json
import signal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rdrop_tools import manifest
from rdrop_tools.corpus import raw_text
from rdrop_tools.corpus.table import CorpusError, Text
from rdrop_tools.runs.log import parse_entry, read_entries, training_seconds
from rdrop_tools.scoring.output import ScoringError, read_references, read_system

# One file, written again for each example, is not state that examples share
fuzz = settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NUMBERS = ("0", "1", "7", "-1", "9" * 30, "9" * 5000, "1e999", "NaN", "\u0663")


def made_of(*parts):
    """Bytes that a reader knows, in any order, among any others."""
    known = st.sampled_from([part if isinstance(part, bytes) else part.encode() for part in parts])
    ends = st.sampled_from([b"\n", b"\r\n", b"\r", b"\t", b" ", "\u2028".encode(), b"\xef\xbb\xbf"])
    pieces = st.one_of(known, ends, st.binary(max_size=5))
    return st.lists(pieces, max_size=40).map(b"".join)


@contextlib.contextmanager
def in_good_time(seconds=30):
    """Fail what would take hours; what is in order takes a thousandth of this."""

    def give_up(*_):
        raise AssertionError(f"no end after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


TAGS = (
    *('<seg id="1">', "<seg id", "</seg>", '<seg id="', '">', "<title>", "</description>"),
    *("<url>", "<talkid>", "<keywords>", "<doc>", "’", "&amp;"),
)


def read_tagged(path, format):
    text = Text("text", "test", format, (path.name, path.name))
    try:
        pairs = list(raw_text.read_pairs(text, path.parent))
    except CorpusError as error:
        assert str(error).count("\n") == 0
        return []
    assert all(isinstance(line, str) and "\n" not in line for pair in pairs for line in pair)
    return pairs


@fuzz
@given(content=made_of(*TAGS), format=st.sampled_from(["ted", "segments"]))
def test_tags(tmp_path, content, format):
    (tmp_path / "text").write_bytes(content)
    read_tagged(tmp_path / "text", format)


@pytest.mark.parametrize("filling", [" ", "<seg id", '<seg id="', "</seg", "<title", "</", "\t </"])
@pytest.mark.parametrize("format", ["ted", "segments"])
def test_the_longest_line_of_anything(tmp_path, filling, format):
    line = '<seg id="1">y' + filling * (2**20 // len(filling) - 20) + "x"
    (tmp_path / "text").write_text(line)
    with in_good_time():
        ((source, _),) = read_tagged(tmp_path / "text", format)
    assert source.endswith("x")


LOG_LINES = (
    *(f"{kind}-{number}\t" for kind in "SHDTP" for number in NUMBERS),
    *(f"test de-en {number} examples\n" for number in NUMBERS),
    *("-0.5\t", "a @@ b", "\u2581a", "\nT-0\tword", "\nD-0\t-0.1\tword", "INFO:fairseq_cli"),
    "\nGenerate test with beam=5: ",
)


@fuzz
@given(content=made_of(*LOG_LINES), count=st.integers(0, 3))
def test_a_log_of_generate(tmp_path, content, count):
    path = tmp_path / "generate.log"
    path.write_bytes(content)
    with contextlib.suppress(ScoringError):
        hypotheses = read_system(path, count)
        assert len(hypotheses) == count and all(isinstance(line, str) for line in hypotheses)
    with contextlib.suppress(ScoringError):
        references = read_references([path])
        assert references and all(isinstance(line, str) for line in references)


@pytest.mark.parametrize("kind", ["H", "D", "T"])
def test_a_log_with_a_sentence_of_an_absurd_number(tmp_path, kind):
    for number in ("9" * 18, "9" * 5000):
        (tmp_path / "generate.log").write_text(f"T-0\tword\n{kind}-{number}\t-0.1\tword\n")
        with in_good_time(), pytest.raises(ScoringError):
            read_references([tmp_path / "generate.log"])
            read_system(tmp_path / "generate.log", 1)


JSON = ("{", "}", "[", "]", '"languages"', ":", ",", '"a"', "null", "1e999", *NUMBERS)


@fuzz
@given(content=made_of(*JSON))
def test_a_manifest(tmp_path, content):
    (tmp_path / manifest.NAME).write_bytes(content)
    try:
        assert isinstance(manifest.read(tmp_path), dict)
    except ValueError as error:
        assert str(tmp_path / manifest.NAME) in str(error) and "make it again" in str(error)


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_a_manifest_too_deep_to_read(tmp_path, bracket):
    (tmp_path / manifest.NAME).write_text(bracket * 200_000)
    with pytest.raises(ValueError, match="make it again"):
        manifest.read(tmp_path)


ENTRIES = (
    *('{"epoch": 1, ', '{"epoch": ', '"num_updates": ', '"valid_num_updates": "7"', "}", ", "),
    *('"wps": "0"', '"wps": "5", "wpb": "2"', "[]", "null", "{}", '"7"', *NUMBERS),
)
VALUES = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.sampled_from(NUMBERS),
    st.floats(),
    st.integers(),
    st.just([]),
)
WHOLE_ENTRIES = st.dictionaries(
    st.sampled_from(["num_updates", "valid_num_updates", "train_num_updates", "wps", "wpb", "x"]),
    VALUES,
).map(lambda values: json.dumps({"epoch": 1, **values}).encode() + b"\n")


@fuzz
@given(content=st.one_of(made_of(*ENTRIES), st.lists(WHOLE_ENTRIES, max_size=9).map(b"".join)))
def test_a_log_of_training(tmp_path, content):
    path = tmp_path / "train.log"
    path.write_bytes(content)
    for kind in ("train_inner", "train", "valid"):
        for entry in read_entries(path, kind):
            assert all(isinstance(value, float) for value in entry.values())
    assert len(training_seconds(path, [1, 2])) in (0, 2)


@pytest.mark.parametrize("filling", ['{"epoch": ', "}", " ", "} ", '{"epoch": {', "["])
def test_the_longest_line_of_a_training_log(filling):
    line = '{"epoch": ' + filling * (2**20 // len(filling)) + "x"
    with in_good_time():
        assert parse_entry(line) is None
