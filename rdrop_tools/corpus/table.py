"""The corpus descriptions, `corpus.json`: what a benchmark is made of, and from where."""

import json
from pathlib import Path
from typing import NamedTuple, Optional
from urllib.parse import urlsplit

SPLITS = ("train", "valid", "test")


class CorpusError(Exception):
    """Why a corpus cannot be made, in a sentence for the user."""


class Archive(NamedTuple):
    """A file to download, and how to recognise it."""

    file: str  # its name, without a folder
    urls: tuple  # of https or http, in the order in which they are tried
    bytes: Optional[int] = None  # this and what follows: None where not published
    sha256: Optional[str] = None
    md5: Optional[str] = None


class Text(NamedTuple):
    """Parallel text: one file a language."""

    name: str
    split: str  # train, valid, test, or dev: a validation set that must be asked for
    format: str  # plain, ted or segments: see raw_text.py
    files: tuple  # names within the archive, source language first
    archive: Optional[str] = None  # None: the files are downloaded by themselves
    pairs: Optional[int] = None  # how many there are in the published one, where known


class CorpusTable(NamedTuple):
    """What is in a corpus description."""

    languages: tuple  # source and target
    archives: list
    texts: list
    expected: dict  # pairs of a split that the usual preparation leaves, where known
    description: str = ""  # this and its licence: for whoever gets a model that was trained on it
    licence: str = ""


def read_table(path):
    """Return the :class:`CorpusTable` in a JSON file.

    Raises:
        CorpusError: it cannot be read, is none, or asks for what none should.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        archives = [_archive(entry, path) for entry in table["archives"]]
        texts = [Text(**{**text, "files": tuple(text["files"])}) for text in table["texts"]]
        languages = tuple(table["languages"])
        about = (str(table.get(name, "")) for name in ("description", "licence"))
        return CorpusTable(languages, archives, texts, table.get("expected", {}), *about)
    except OSError as error:
        raise CorpusError(f"Cannot read {path}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorpusError(f"{path} is not a corpus description ({error!r}).") from error


def _archive(entry, table):
    archive = Archive(**{**entry, "urls": tuple(entry["urls"])})
    if Path(archive.file).name != archive.file:
        raise CorpusError(f"{table}: {archive.file!r} is not the plain name of a file.")
    for url in archive.urls:
        if urlsplit(url).scheme not in ("https", "http"):
            raise CorpusError(f"{table}: {url!r} is not an address of https or http.")
    return archive
