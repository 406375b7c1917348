"""Keeps a part of the training pairs, chosen by a hash: the same in every run, on every machine."""

import hashlib
import heapq
import os

from rdrop_tools.corpus.table import CorpusError


def keep_sample(folder, languages, count):
    """Keep `count` pairs of train.LANG in a folder, those whose source has the smallest SHA-256.

    They stay in order, and a small sample is a part of any larger one.

    Raises:
        CorpusError: there are fewer.
    """
    source, target = (folder / f"train.{language}" for language in languages)
    with open(source, "rb") as lines:
        hashes = ((hashlib.sha256(line).digest(), n) for n, line in enumerate(lines))
        chosen = {n for _, n in heapq.nsmallest(count, hashes)}
    if len(chosen) < count:
        raise CorpusError(f"There are {len(chosen):,} training pairs, fewer than {count:,}.")
    for path in (source, target):
        _keep_lines(path, chosen)


def _keep_lines(path, numbers):
    kept = path.with_name(f"{path.name}.kept")
    with open(path, "rb") as lines, open(kept, "wb") as file:
        file.writelines(line for n, line in enumerate(lines) if n in numbers)
    os.replace(kept, path)
