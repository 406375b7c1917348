"""Whether a file is the right one and complete: its checksum, and the one that ends a gzip."""

import gzip
import hashlib

BLOCK = 2**20


def checksum(path, name="sha256", is_gzip=False):
    """Return a checksum of a file, as hexadecimal digits.

    Args:
        name: one that hashlib knows.
        is_gzip: decompress the file, in the same read, to its end, where its own checksum stands.

    Raises:
        EOFError, gzip.BadGzipFile, zlib.error: the gzip is damaged, or it is not a gzip.
    """
    # Not for security: MD5 stands in the tables only where nothing better is published.
    digest = hashlib.new(name, usedforsecurity=False)
    with open(path, "rb") as file:
        hashed = _Hashed(file, digest)
        read_to_end(gzip.GzipFile(fileobj=hashed) if is_gzip else hashed)
    return digest.hexdigest()


def read_to_end(stream):
    """Read what is left of a stream, in constant memory."""
    while stream.read(BLOCK):
        pass


class _Hashed:
    """A file that adds everything that is read from it to a digest."""

    def __init__(self, file, digest):
        self._file, self._digest = file, digest

    def read(self, size):
        """Return the next bytes, at most `size`."""
        block = self._file.read(size)
        self._digest.update(block)
        return block
