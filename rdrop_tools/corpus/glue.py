"""Read a task of GLUE, as published in TSV files, and split its sentences into RoBERTa's subwords.

The labels of the published test sets are not public: as everywhere, results are those of the
development set, here `valid`.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rdrop_tools import manifest
from rdrop_tools.atomic import atomic_folder
from rdrop_tools.checksums import checksum
from rdrop_tools.corpus.gpt2 import GPT2_FILES, encode_line
from rdrop_tools.corpus.labelled import Example, write_examples
from rdrop_tools.corpus.sets import describe_sets
from rdrop_tools.corpus.table import CorpusError


class Columns(NamedTuple):
    """Where things are in the files of a task; columns count from 0, or from -1 at the end."""

    sentences: tuple
    label: int = -1
    header: bool = True
    valid: str = "dev"
    largest: float = 0.0
    """The largest score of a regression, which is divided by it; 0 for classes."""
    whole: int = 0
    """How many columns a line has where some published lines are cut, and left out; 0: none is."""


TASKS = {
    "CoLA": Columns((3,), label=1, header=False),
    "MNLI": Columns((8, 9), valid="dev_matched"),
    "MRPC": Columns((3, 4), label=0),
    "QNLI": Columns((1, 2)),
    "QQP": Columns((3, 4), label=5, whole=6),
    "RTE": Columns((1, 2)),
    "SST-2": Columns((0,)),
    "STS-B": Columns((7, 8), largest=5.0),
}


def read_examples(path, columns):
    """Return an Example for each line of a TSV file.

    Raises CorpusError for a file that is not there or has no sentences, and for a line without the
    columns or, in a regression, without a score.
    """
    if not path.exists():
        raise CorpusError(f"there is no {path}: give --orig the folder of the published files.")
    lines = path.read_text(encoding="utf-8").rstrip("\n").split("\n")[columns.header :]
    examples = []
    for number, line in enumerate(lines, 1 + columns.header):
        cells = line.rstrip("\r").split("\t")
        if columns.whole and len(cells) != columns.whole:
            continue  # as fairseq's preprocess_GLUE_tasks.sh
        place = f"line {number} of {path}"
        if len(cells) <= max(*columns.sentences, columns.label):
            raise CorpusError(f"{place} has {len(cells)} columns, too few.")
        label = _label(cells[columns.label], columns, place)
        examples.append(Example(tuple(cells[c] for c in columns.sentences), label))
    if not examples:
        raise CorpusError(f"{path} has no sentences: get it again.")
    return examples


def _label(cell, columns, place):
    """The label as fairseq reads it: a word, or a number from 0 to 1."""
    if not columns.largest:
        return cell
    try:
        return str(float(cell) / columns.largest)
    except ValueError:
        raise CorpusError(f"{place} has the score {cell!r}, which is no number.") from None


def make_task(task, orig, subwords, out):
    """Write the sets of a task, in subwords, into the new folder `out`."""
    columns = TASKS[task]
    files = {"train": "train", "valid": columns.valid}
    sets = {
        name: read_examples(orig / task / f"{file}.tsv", columns) for name, file in files.items()
    }
    with atomic_folder(out) as folder:
        write_examples(folder, sets, partial(encode_line, folder=subwords))
        sums = {name: checksum(subwords / name) for name in GPT2_FILES}
        manifest.write(folder, {"description": f"GLUE, {task}", "subwords": sums})
    print(f"{task}: {describe_sets(sets)}")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--task", choices=TASKS, required=True)
    parser.add_argument(
        "--orig", type=Path, required=True, help="folder with TASK/train.tsv and TASK/dev.tsv"
    )
    parser.add_argument(
        "--subwords", type=Path, required=True, help=f"folder with {' and '.join(GPT2_FILES)}"
    )
    parser.add_argument("--out", type=Path, required=True, help="new folder for the sets")
    args = parser.parse_args(argv)
    try:
        make_task(args.task, args.orig, args.subwords, args.out)
    except (CorpusError, OSError, ValueError) as error:
        sys.exit(f"{parser.prog}: {error}")
