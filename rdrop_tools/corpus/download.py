"""Download the archives that a corpus is made of, as its corpus.json lists them.

What is there already is verified, never fetched again. An interrupted download is continued by the
same command. Only a file that is verified gets its name: until then it is called NAME.part.
"""

import argparse
import errno
import sys
from pathlib import Path

from rdrop_tools.corpus.archive import WrongArchive, verify
from rdrop_tools.corpus.fetch import NotFetched, Unreachable, fetch
from rdrop_tools.corpus.table import CorpusError, read_table
from rdrop_tools.extras import MissingPackage

PAUSES = (0, 1, 5, 15)  # seconds before each round over an archive's addresses


def download(archives, folder):
    """Verify the archives that are in `folder` and fetch the others into it.

    Raises:
        CorpusError: one that is there is wrong, or some could not be fetched. The message lists
            these with where to get them and where to put them.
    """
    try:
        missing = [archive for archive in archives if not _is_there(archive, folder)]
        if missing:
            folder.mkdir(parents=True, exist_ok=True)
        failures = _fetch_all(missing, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise CorpusError(
                f"No space is left in {folder}: free some and run the same command again, which "
                "continues where this one stopped."
            ) from error
        reason = f"Cannot use {error.filename or folder}: {error.strerror}."
        raise CorpusError(f"{reason} Name another folder for the archives.") from error
    if failures:
        raise CorpusError(_how_to_get(failures, folder))


def _is_there(archive, folder):
    path = folder / archive.file
    if not path.exists():
        return False
    try:
        verify(path, archive)
    except WrongArchive as error:
        raise CorpusError(
            f"{error} Remove it to have it downloaded by the same command, or put the right one "
            "in its place."
        ) from error
    print(f"{path}: there already, verified")
    return True


def _fetch_all(missing, folder):
    """Return (archive, reasons) of those that could not be fetched."""
    failures = []
    pauses = PAUSES
    for archive in missing:
        try:
            fetch(archive, folder, pauses)
            print(f"{folder / archive.file}: downloaded, verified")
        except NotFetched as error:
            failures.append((archive, error.reasons))
            if all(isinstance(reason, Unreachable) for reason in error.reasons.values()):
                pauses = PAUSES[:1]  # probably no network: ask for the others, but only once
    return failures


def _how_to_get(failures, folder):
    lines = [
        f"{len(failures)} archive{'s' * (len(failures) > 1)} could not be downloaded. Run the same "
        "command again, which continues where this one stopped, or get what is missing in another "
        "way and put it where it belongs:"
    ]
    for archive, reasons in failures:
        size = f" ({archive.bytes:,} bytes)" if archive.bytes is not None else ""
        lines.append(f"  {archive.file}{size}")
        lines += [f"    from {url} ({reason})" for url, reason in reasons.items()]
        lines.append(f"    to   {folder / archive.file}")
    return "\n".join(lines)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--corpus", type=Path, required=True, help="the corpus description, a corpus.json"
    )
    parser.add_argument("--to", type=Path, required=True, help="folder for the archives")
    args = parser.parse_args(argv)
    try:
        download(read_table(args.corpus).archives, args.to)
    except (CorpusError, MissingPackage) as error:
        sys.exit(f"{parser.prog}: {error}")
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped; the same command continues from here.", file=sys.stderr)
        sys.exit(130)
