"""Outputs that are whole or not there: written under a temporary name, renamed at the end."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path


@contextlib.contextmanager
def whole_file(path):
    """Yield a temporary path beside `path`, renamed to `path` on success and removed on failure."""
    with _temporary_sibling(path) as folder:
        yield folder / path.name
        os.replace(folder / path.name, path)


@contextlib.contextmanager
def whole_folder(path):
    """Yield a temporary folder, renamed to `path` on success and removed on failure.

    Raises FileExistsError, before anything is made, when `path` exists.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists already: remove it, or name another place.")
    with _temporary_sibling(path) as folder:
        (folder / path.name).mkdir()
        yield folder / path.name
        os.replace(folder / path.name, path)


@contextlib.contextmanager
def _temporary_sibling(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
