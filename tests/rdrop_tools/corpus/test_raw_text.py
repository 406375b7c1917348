"""Text is read as published, from archives or unpacked, or refused in a sentence."""

import gzip
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rdrop_tools.corpus import raw_text
from rdrop_tools.corpus.table import CorpusError, Text

TED = b"""<url>http://www.ted.com/talks/1</url>
<keywords>talks, one</keywords>
<talkid>1</talkid>
<title>One: A title</title>
<description>TED Talk: What it is about</description>
 First line.
Second < line.
"""
XML = b"""<doc docid="1" genre="lectures">
<title>Not read</title>
<seg id="1"> It\xe2\x80\x99s one. </seg>
  <seg id="2">R&amp;D</seg>
</doc>
"""


def text(format="plain", archive="a.tgz", files=("d/x.de", "d/x.en")):
    return Text("corpus", "train", format, files, archive)


def unpacked(folder, contents):
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def packed(path, contents, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def pairs(folder, what=None):
    return list(raw_text.read_pairs(what or text(), folder))


@pytest.mark.parametrize("place", ["archive", "tar", "folder", "next to it"])
def test_archive_and_folder_give_the_same(tmp_path, place):
    contents = {"d/x.de": b"eins\nzwei\n", "d/x.en": b"one\ntwo\n"}
    if place == "folder":
        unpacked(tmp_path, contents)
    elif place == "next to it":
        unpacked(tmp_path, {name[2:]: content for name, content in contents.items()})
    else:
        packed(tmp_path / "a.tgz", contents, "w" if place == "tar" else "w:gz")
    assert pairs(tmp_path) == [("eins", "one"), ("zwei", "two")]


def test_compressed_members_of_an_archive(tmp_path):
    contents = {"x.de.gz": gzip.compress(b"eins\n"), "x.en.gz": gzip.compress(b"one\n")}
    packed(tmp_path / "a.tgz", contents)
    assert pairs(tmp_path, text(files=("x.de.gz", "x.en.gz"))) == [("eins", "one")]


@pytest.mark.parametrize("archive", ["a.tar", None])
@pytest.mark.parametrize("place", ["d", "."], ids=["folder", "next to it"])
def test_compressed_files_may_be_unpacked(tmp_path, archive, place):
    what = text(archive=archive, files=("d/x.de.gz", "d/x.en.gz"))
    unpacked(tmp_path / place, {"x.de": b"eins\n", "x.en.gz": gzip.compress(b"one\n")})
    assert pairs(tmp_path, what) == [("eins", "one")]
    unpacked(tmp_path / place, {"x.de.gz": gzip.compress(b"zwei\n")})
    assert pairs(tmp_path, what) == [("zwei", "one")]


def test_formats(tmp_path):
    unpacked(tmp_path, {"x.de": TED, "x.en": TED, "y.de": XML, "y.en": XML})
    ted = pairs(tmp_path, text("ted", None, ("x.de", "x.en")))
    first = ["One: A title", "TED Talk: What it is about", " First line.", "Second < line."]
    assert ted == [(line, line) for line in first]
    segments = pairs(tmp_path, text("segments", None, ("y.de", "y.en")))
    assert segments == [("It's one.",) * 2, ("R&amp;D",) * 2]


def test_only_a_line_feed_ends_a_line(tmp_path):
    content = "\ufeffa\u2028b\x85c\r\nd\n".encode()
    unpacked(tmp_path, {"d/x.de": content, "d/x.en": b"1\n2\n"})
    assert pairs(tmp_path) == [("a\u2028b\x85c", "1"), ("d", "2")]


@pytest.mark.parametrize(
    "contents, message",
    [
        ({"d/x.de": b"1\n2\n", "d/x.en": b"1\n2\n3\n4\n"}, "d/x.de has 2 .* d/x.en has 4"),
        ({"d/x.de": b"1\n2\n3\n", "d/x.en": b"1\n"}, "d/x.de has 3 .* d/x.en has 1"),
        ({"d/x.de": b"", "d/x.en": b""}, "has no text"),
        ({"d/x.de": b"a\n\xff\n", "d/x.en": b"1\n2\n"}, "d/x.de in .*line 2 is not UTF-8"),
        ({"d/x.de": b"a" * (2**20 + 1), "d/x.en": b"1"}, "line 1 has more than 1,048,576"),
        ({"d/x.de": b"1\n"}, "has no d/x.en in it"),
    ],
)
def test_bad_text_is_refused(tmp_path, contents, message):
    packed(tmp_path / "a.tgz", contents)
    with pytest.raises(CorpusError, match=message):
        pairs(tmp_path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CorpusError, match=r"neither .*a\.tgz nor .*d/x\.de nor .*x\.de"):
        pairs(tmp_path)


def test_every_missing_file_is_named(tmp_path):
    (tmp_path / "b").touch()
    files = [("a.tgz", "a"), (None, "b"), (None, "c")]
    with pytest.raises(CorpusError, match=r"neither .*a\.tgz .*/a\. .*/c is missing\.$") as error:
        raw_text.locate_all(tmp_path, files)
    assert "/b" not in str(error.value)
    files = [files[1], files[1]]
    assert raw_text.locate_all(tmp_path, files) == [tmp_path / "b"]


def damaged_archive(folder, position, byte):
    lines = b"".join(b"%d\n" % (number * 7919) for number in range(9000))
    packed(folder / "a.tgz", {"d/x.de": lines, "d/x.en": lines})
    content = bytearray((folder / "a.tgz").read_bytes())
    if byte is None:
        del content[int(position * len(content)) :]
    else:
        content[int(position * len(content))] ^= byte
    (folder / "a.tgz").write_bytes(content)


@pytest.mark.parametrize("position", [0.0, 0.01, 0.5, 0.9])
@pytest.mark.parametrize("byte", [None, 0xFF], ids=["truncated", "flipped"])
def test_a_damaged_archive_is_refused(tmp_path, position, byte):
    damaged_archive(tmp_path, position, byte)
    with pytest.raises(CorpusError, match="a.tgz is (damaged|empty)"):
        raw_text.checksum_if_complete(tmp_path / "a.tgz")


@pytest.mark.parametrize("position", [0.01, 0.5, 0.9])
def test_a_truncated_archive_is_noticed_while_it_is_read(tmp_path, position):
    damaged_archive(tmp_path, position, None)
    with pytest.raises(CorpusError, match="a.tgz"):
        pairs(tmp_path)


def test_names_that_leave_the_folder_are_never_written(tmp_path):
    """Members are read by name and nothing is unpacked, whatever an archive holds."""
    folder = tmp_path / "originals"
    folder.mkdir()
    contents = {"../outside": b"bad\n", "/tmp/rdrop-outside": b"bad\n"}
    packed(folder / "a.tgz", {**contents, "d/x.de": b"1\n", "d/x.en": b"2\n"})
    assert pairs(folder) == [("1", "2")]
    assert [path.name for path in tmp_path.rglob("*")] == ["originals", "a.tgz"]


def test_a_link_in_an_archive_is_not_followed(tmp_path):
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        link = tarfile.TarInfo("d/x.de")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(CorpusError, match="has no d/x.de"):
        pairs(tmp_path)


@given(content=st.binary(max_size=300), format=st.sampled_from(sorted(raw_text.FORMATS)))
def test_any_bytes_give_lines_or_the_documented_error(tmp_path_factory, content, format):
    folder = tmp_path_factory.mktemp("any")
    unpacked(folder, {"x.de": content, "x.en": content})
    try:
        for source, target in pairs(folder, text(format, None, ("x.de", "x.en"))):
            assert source == target and "\n" not in source
    except CorpusError:
        pass


@given(content=st.binary(max_size=300))
def test_any_bytes_as_an_archive(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("any")
    (folder / "a.tgz").write_bytes(content)
    with pytest.raises(CorpusError):
        pairs(folder)
