"""Whether a file is the right one and whole: its checksum, and the one that ends a gzip."""

import gzip
import hashlib

BLOCK = 2**20


def checksum(path, name="sha256"):
    """Return a checksum of a file, as hexadecimal digits; `name` is one that hashlib knows."""
    # Not for security: MD5 stands in the tables only where nothing better is published.
    digest = hashlib.new(name, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def read_gzip(path):
    """Read a gzip to its end, where its own checksum stands.

    Raises:
        EOFError, gzip.BadGzipFile, zlib.error: it is damaged, or no gzip.
    """
    with gzip.open(path) as stream:
        while stream.read(BLOCK):
            pass
