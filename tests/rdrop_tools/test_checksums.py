"""One read tells which file it is and whether it is complete."""

import gzip
import hashlib
import random
import zlib

import pytest

from rdrop_tools.checksums import checksum

TEXT = random.Random(0).randbytes(300_000)
PACKED = gzip.compress(TEXT[:1000]) + gzip.compress(TEXT[1000:])


@pytest.mark.parametrize("name", ["sha256", "md5"])
@pytest.mark.parametrize(
    ("content", "is_gzip"), [(TEXT, False), (PACKED, False), (PACKED, True), (b"", False)]
)
def test_the_checksum_is_of_the_file_itself(tmp_path, name, content, is_gzip):
    (tmp_path / "file").write_bytes(content)
    expected = hashlib.new(name, content).hexdigest()
    assert checksum(tmp_path / "file", name, is_gzip) == expected


@pytest.mark.parametrize(
    "content",
    [TEXT, PACKED[:-1], PACKED[:5], PACKED[:-8] + b"\0" * 8, PACKED + b"more"],
    ids=[
        "not a gzip",
        "cut short",
        "cut in its head",
        "another sum at its end",
        "followed by more",
    ],
)
def test_a_gzip_must_be_complete(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises((EOFError, gzip.BadGzipFile, zlib.error)):
        checksum(tmp_path / "file", is_gzip=True)
