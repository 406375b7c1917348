"""The tables `examples/translation/*/corpus.json`: what a benchmark is made of, and from where."""

import json
from typing import NamedTuple, Optional


class CorpusError(Exception):
    """Why a corpus cannot be made, in a sentence for the user."""


class Text(NamedTuple):
    """Parallel text: one file a language."""

    name: str
    split: str  # train, valid, test, or dev: a validation set that must be asked for
    format: str  # plain, ted or segments: see raw_text.py
    files: tuple  # names within the archive, source language first
    archive: Optional[str] = None  # None: the files are downloaded by themselves
    pairs: Optional[int] = None  # how many there are in the published one, where known


class CorpusTable(NamedTuple):
    """What is in a table."""

    languages: tuple  # source and target
    checksums: dict  # SHA-256 of a file that is downloaded, where published
    texts: list
    expected: dict  # pairs of a split that the usual preparation leaves, where known


def read_table(path):
    """Return the :class:`CorpusTable` in a JSON file.

    Raises:
        CorpusError: it is not such a table.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        texts = [Text(**{**text, "files": tuple(text["files"])}) for text in table["texts"]]
        languages = tuple(table["languages"])
        files = table["archives"]
        checksums = {file["file"]: file["sha256"] for file in files if "sha256" in file}
        return CorpusTable(languages, checksums, texts, table.get("expected", {}))
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{path} is not a table of a corpus: {error}.") from error
