"""Atomic outputs: complete or not there, since they get their name only at the end.

A program that is killed before that leaves its temporary folder behind; the next one that makes
the same output removes it. A lock keeps two programs from making the same output at once.
"""

import contextlib
import errno
import glob
import os
import shutil
import sys
import tempfile
from pathlib import Path

from rdrop_tools.lock import locked

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def atomic_file(path):
    """Yield a temporary path, renamed to `path` on success and removed on failure.

    Raises BlockingIOError when another program is making `path`.
    """
    with _only_maker(path), _temporary_sibling(path) as folder:
        yield folder / path.name
        os.replace(folder / path.name, path)


@contextlib.contextmanager
def atomic_folder(path):
    """Yield a temporary folder, renamed to `path` on success and removed on failure.

    Raises FileExistsError, before anything is made, when `path` exists, and BlockingIOError when
    another program is making it.
    """
    with _only_maker(path), _temporary_sibling(path) as folder:
        if path.exists():
            raise FileExistsError(f"{path} exists already: remove it, or name another place.")
        (folder / path.name).mkdir()
        yield folder / path.name
        os.replace(folder / path.name, path)


def _only_maker(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return locked(path.parent / f".{path.name}.lock", path)


@contextlib.contextmanager
def _temporary_sibling(path):
    prefix = f".{path.name}.making."
    for left_behind in path.parent.glob(f"{glob.escape(prefix)}*"):
        shutil.rmtree(left_behind, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=path.parent))
    try:
        yield folder
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise OSError(
            f"no room for {path} ({error.strerror}): free some and run the same command again."
        ) from error
    except KeyboardInterrupt:
        program = os.path.basename(sys.argv[0])
        print(f"{program}: stopped; the same command makes {path} from scratch.", file=sys.stderr)
        sys.exit(130)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
