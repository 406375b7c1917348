"""Whether a downloaded file is the archive that a table describes."""

import contextlib
import gzip
import re
import tarfile
import zlib
from pathlib import Path

from rdrop_tools.checksums import checksum, read_to_end
from rdrop_tools.corpus.table import CorpusError

STARTS_LIKE_HTML = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|script)\b", re.I)


class WrongArchive(CorpusError):
    """A file is not the archive that the table describes."""


def verify(path, archive):
    """Make sure that a file is the complete :class:`~rdrop_tools.corpus.table.Archive`.

    Where the table has no checksum, the file is read to its end instead.

    Raises:
        WrongArchive: it is another file, or a damaged one.
    """
    with open(path, "rb") as file:
        if STARTS_LIKE_HTML.match(file.read(512)):
            raise WrongArchive(
                f"{path} is a web page, not an archive: a proxy or the login page of a network "
                "may have answered in place of the server."
            )
    size = path.stat().st_size
    if size == 0:
        raise WrongArchive(f"{path} is empty.")
    if archive.bytes not in (None, size):
        raise WrongArchive(f"{path} has {size:,} bytes and should have {archive.bytes:,}.")
    published = {"sha256": archive.sha256, "md5": archive.md5}
    for name, expected in published.items():
        if expected and (digest := checksum(path, name)) != expected:
            raise WrongArchive(f"{path} has {name} {digest} and should have {expected}.")
    if not any(published.values()):
        _read_to_end(path, Path(archive.file).suffix)


def _read_to_end(path, suffix):
    try:
        with contextlib.ExitStack() as stack:
            stream = stack.enter_context(open(path, "rb"))
            if suffix in (".gz", ".tgz"):
                stream = stack.enter_context(gzip.open(stream))
            if suffix in (".tar", ".tgz"):
                for _ in stack.enter_context(tarfile.open(fileobj=stream, mode="r|")):
                    pass
            read_to_end(stream)
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise WrongArchive(f"{path} is damaged or not an archive: {error}.") from error
