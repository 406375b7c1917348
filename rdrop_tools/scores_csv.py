"""A CSV of scores, to which programs that run at the same time may add."""

import contextlib
import csv
import fcntl

from rdrop_tools.atomic import atomic_file
from rdrop_tools.lock import NO_LOCKS


def read_csv(path, fields):
    """Return the rows of the CSV, dictionaries of its fields; none where there is no file.

    Raises ValueError, in a sentence for the user, if it is another CSV, a line has too few or too
    many fields, or a value is no number.
    """
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != fields:
            raise ValueError(
                f"{path} is not a CSV of scores: its columns are not {', '.join(fields)}."
            )
        rows = []
        for row in reader:
            whole = None not in row and None not in row.values()
            if not whole or "value" in fields and not is_number(row["value"]):
                raise ValueError(f"line {reader.line_num} of {path} is not a score: remove it.")
            rows.append(row)
        return rows


def is_number(text):
    """Return whether a text, or the None of a line that is too short, is a number."""
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True


def put_csv(path, fields, key, added):
    """Put rows into the CSV, in the place of those that are equal in the fields of `key`.

    Programs that do so at the same time wait for each other.
    """
    with _alone_with(path):
        named = {tuple(row[field] for field in key) for row in added}
        rows = [
            row for row in read_csv(path, fields) if tuple(row[field] for field in key) not in named
        ]
        write_csv(path, fields, [*rows, *added])


def write_csv(path, fields, rows):
    """Write the CSV anew."""
    with atomic_file(path) as made, open(made, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


@contextlib.contextmanager
def _alone_with(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.turn"), "w") as turn:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
        except OSError as error:  # lock.py warned of such a file system already
            if error.errno not in NO_LOCKS:
                raise
        yield
