"""The translations of the test sets, as text, which stay without the folders of the trainings."""

from collections import defaultdict

from rdrop_tools.ablations.results import OUTPUT
from rdrop_tools.atomic import atomic_file
from rdrop_tools.scoring.output import read_lines, read_references, read_system

OUTPUTS, REFERENCES = "outputs", "references.txt"


def keep_outputs(results, folder):
    """Write outputs/CORPUS/ROW-seedN.txt, and references.txt there, of what was translated.

    A line is a sentence of the test set. Raises ValueError, in a sentence for the user, if there
    are references of another test set.
    """
    for row in results:
        log = folder / row["corpus"] / _name(row) / OUTPUT
        if log.exists():
            references = read_references([log])
            kept = folder / OUTPUTS / row["corpus"]
            _write_references(kept / REFERENCES, references, log)
            _write_lines(kept / f"{_name(row)}.txt", read_system(log, len(references)))


def kept_outputs(results, folder):
    """Return {corpus: {row: {seed: path}}} of the outputs that were kept."""
    outputs = defaultdict(lambda: defaultdict(dict))
    for row in results:
        path = folder / OUTPUTS / row["corpus"] / f"{_name(row)}.txt"
        if path.exists():
            outputs[row["corpus"]][row["row"]][row["seed"]] = path
    return outputs


def _name(row):
    return f"{row['row']}-seed{row['seed']}"


def _write_references(path, references, log):
    if not path.exists():
        _write_lines(path, references)
    elif read_lines(path) != references:
        raise ValueError(f"{log} was not scored against {path}: remove the one that is wrong.")


def _write_lines(path, lines):
    with atomic_file(path) as made:
        made.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
