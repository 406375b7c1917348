"""Reads parallel text as it is published: out of archives, without unpacking them, line by line."""

import contextlib
import gzip
import re
import tarfile
import zlib

from rdrop_tools.checksums import checksum
from rdrop_tools.corpus.table import CorpusError

DAMAGED = (EOFError, gzip.BadGzipFile, tarfile.ReadError, zlib.error)
TED_METADATA = re.compile(r"<url>|<talkid>|<keywords>")
TED_TAGS = re.compile(r"</?(?:title|description)>")
# \s*</seg> alone would try each space of a long run again: the lookbehind tries a run once
SEGMENT = re.compile(r'<seg id="[0-9]*">\s*|(?:(?<!\s)\s+)?</seg>\s*')
LONGEST_LINE = 2**20  # characters; no sentence is, so that a hostile file cannot fill the memory


def read_pairs(text, originals):
    """Yield the (source, target) lines of a text, in constant memory.

    Args:
        text: a :class:`~rdrop_tools.corpus.table.Text`.
        originals: folder with the archives, or with what was unpacked from them.

    Raises:
        CorpusError: a file is missing, damaged, without a word or not UTF-8, the sides differ in
            their number of lines, or have more than the table says, as a decompression bomb has.
    """
    has_words = False
    with contextlib.ExitStack() as stack:
        sides = [
            FORMATS[text.format](stack.enter_context(open_lines(originals, text.archive, name)))
            for name in text.files
        ]
        for count, pair in enumerate(_in_step(sides, text.files), 1):
            if text.pairs and count > text.pairs:
                raise CorpusError(
                    f"{text.files[0]} of {text.archive or text.name} has more than the "
                    f"{text.pairs:,} lines of the published one: is it the right archive?"
                )
            has_words = has_words or any(line.strip() for line in pair)
            yield pair
    if not has_words:
        raise CorpusError(f"{text.files[0]} of {text.archive or text.name} has no text in it.")


def _in_step(sides, names):
    end = object()
    count = 0
    while True:
        pair = tuple(next(side, end) for side in sides)
        if end in pair:
            break
        count += 1
        yield pair
    if pair != (end, end):
        counts = [
            count + (line is not end) + sum(1 for _ in side) for line, side in zip(pair, sides)
        ]
        raise CorpusError(
            f"{names[0]} has {counts[0]:,} lines of text and {names[1]} has {counts[1]:,}: "
            "they do not belong together."
        )


def plain(lines):
    """One sentence a line."""
    return lines


def ted(lines):
    """IWSLT's train.tags files: lines about a talk go, its title and description stay."""
    return (TED_TAGS.sub("", line) for line in lines if not TED_METADATA.search(line))


def segments(lines):
    """The `<seg>` lines of XML and SGM test sets, apostrophes made plain.

    Like the usual preparation scripts, and unlike an XML parser, this leaves entities as they are.
    """
    found = (line for line in lines if "<seg id" in line)
    return (SEGMENT.sub("", line).strip().replace("’", "'") for line in found)


FORMATS = {"plain": plain, "ted": ted, "segments": segments}


def locate(originals, archive, name):
    """Return the file that a text is in: its archive, or what was unpacked from it.

    Raises:
        CorpusError: neither is there.
    """
    places = [originals / archive] if archive else []
    for unpacked in dict.fromkeys([name, name.removesuffix(".gz")]):
        places += [originals / unpacked, originals / unpacked.rpartition("/")[2]]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        looked = " nor ".join(dict.fromkeys(str(place) for place in places))
        raise CorpusError(
            f"There is neither {looked}." if " nor " in looked else f"{looked} is missing."
        )
    return found


def locate_all(originals, files):
    """Return the file of each (archive, name), without repetition.

    Raises:
        CorpusError: names every one that is not there.
    """
    found, missing = {}, []
    for archive, name in files:
        try:
            found[locate(originals, archive, name)] = None
        except CorpusError as error:
            missing.append(str(error))
    if missing:
        raise CorpusError(" ".join(dict.fromkeys(missing)))
    return list(found)


def checksum_if_complete(path):
    """Return the SHA-256 of a file; a compressed one is also decompressed to its end.

    Members of an archive are read no further than needed, so that damage might pass unnoticed.

    Raises:
        CorpusError: it is damaged or empty.
    """
    is_gzip = path.suffix in (".gz", ".tgz")
    if is_gzip and not path.stat().st_size:
        raise CorpusError(f"{path} is empty: get it again.")
    try:
        return checksum(path, is_gzip=is_gzip)
    except DAMAGED as error:
        raise CorpusError(f"{path} is damaged ({error}): get it again.") from error


@contextlib.contextmanager
def open_lines(originals, archive, name):
    """Yield the lines of a file, wherever it is; reading them may raise CorpusError."""
    path = locate(originals, archive, name)
    is_packed = archive and path.name == archive
    label = f"{name} in {path}" if is_packed else str(path)
    with contextlib.ExitStack() as stack:
        try:
            if is_packed:
                stream = _member(stack.enter_context(tarfile.open(path, "r|*")), name, path)
            else:
                stream = stack.enter_context(open(path, "rb"))
            if (name if is_packed else path.name).endswith(".gz"):
                stream = stack.enter_context(gzip.open(stream))
        except DAMAGED as error:
            raise CorpusError(f"{path} is damaged ({error}): get it again.") from error
        yield _lines(stream, label)


def _member(archive, name, path):
    for member in archive:
        if member.isfile() and member.name.removeprefix("./") == name:
            return archive.extractfile(member)
    raise CorpusError(f"{path} has no {name} in it: is it the right archive?")


def _lines(stream, label):
    """Yield decoded lines without their ends; only a line feed, Windows's or not, ends a line."""
    number = 0
    try:
        for number, line in enumerate(iter(lambda: stream.readline(4 * LONGEST_LINE + 4), b""), 1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
            if len(text) > LONGEST_LINE:
                raise CorpusError(
                    f"{label}: line {number:,} has more than {LONGEST_LINE:,} characters: "
                    "this is not a text of sentences."
                )
            yield text
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{label}: line {number:,} is not UTF-8 ({error.reason}): convert the file first."
        ) from error
    except DAMAGED as error:
        raise CorpusError(
            f"{label}: damaged after line {number:,} ({error}): get it again."
        ) from error
