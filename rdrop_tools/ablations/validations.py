"""The validations of the trainings: a row of a CSV for each, of which the curves are drawn."""

from collections import defaultdict
from statistics import mean

from rdrop_tools.ablations.results import LOG, TRAINING, key_of, scored_validations
from rdrop_tools.runs.log import training_seconds
from rdrop_tools.scores_csv import put_csv, read_csv

MEASURED = ("update", "seconds", "loss", "bleu")
FIELDS = (*TRAINING, *MEASURED)
"""Updates and seconds of the training itself, without one before it; the loss in bits a token."""


def read_validations(path):
    """Return the rows of the CSV, dictionaries of FIELDS; none where there is no file."""
    return read_csv(path, FIELDS)


def add_validations(path, training, folder):
    """Add those of a finished training to the CSV, in the place of those that it has of it."""
    log = folder / training.folder / LOG
    entries = scored_validations(log)
    updates = [entry["num_updates"] for entry in entries]
    rows = [
        {
            **dict(zip(TRAINING, key_of(training))),
            **{"update": f"{update:.0f}", "seconds": f"{seconds:.0f}"},
            **{"loss": f"{entry['loss']:.3f}", "bleu": f"{entry['bleu']:.2f}"},
        }
        for entry, update, seconds in zip(entries, updates, training_seconds(log, updates))
    ]
    put_csv(path, FIELDS, TRAINING, rows)


def mean_curve(corpus, row, validations):
    """Return the means of the seeds at each update, [{one of MEASURED: number}].

    Updates at which a seed was not validated are left out.
    """
    at_updates, seeds = defaultdict(list), set()
    for entry in validations:
        if (entry["corpus"], entry["row"]) == (corpus, row):
            at_updates[int(entry["update"])].append(entry)
            seeds.add(entry["seed"])
    return [
        {name: mean(float(entry[name]) for entry in entries) for name in MEASURED}
        for _, entries in sorted(at_updates.items())
        if len(entries) == len(seeds)
    ]
