"""The trainings of an ablation study: what to run next, its results, tables and pictures.

`list` prints a line for each training that the CSV does not have: folder, corpus, seed, training
before and its updates, updates, arguments of fairseq-train. `add` adds a finished one to
the CSVs. `report` keeps the translations, compares each row with its baselines, draws the pictures
and prints the tables.
`readme` puts the tables into README.md.
"""

import argparse
import sys
from pathlib import Path

from rdrop_tools.ablations.outputs import keep_outputs
from rdrop_tools.ablations.pictures import draw_all
from rdrop_tools.ablations.plan import matching, read_plan, trainings
from rdrop_tools.ablations.report import progress, tables, with_tables
from rdrop_tools.ablations.results import (
    add_result,
    check_common,
    is_done,
    of_plan,
    read_results,
)
from rdrop_tools.ablations.significance import read_significance, write_significance
from rdrop_tools.ablations.validations import add_validations, read_validations
from rdrop_tools.arguments import at_least_one
from rdrop_tools.atomic import atomic_file
from rdrop_tools.extras import MissingPackage
from rdrop_tools.scoring.output import ScoringError


def list_trainings(args, plan):
    """Print what is still to be run."""
    path = args.out / "results.csv"
    results = read_results(path)
    check_common(path, results, args.common)
    chosen = matching(trainings(plan, args.seeds), args.only)
    if not chosen:
        raise ValueError(f"no row of {args.rows} has a name like {args.only}.")
    for training in chosen:
        if not is_done(training, results):
            before = (training.row.before, training.updates_before)
            words = (*before, training.updates, training.arguments)
            print(training.folder, training.corpus, training.seed, *words, sep="\t")


def add(args, plan):
    """Add a finished training to the CSVs."""
    seed = int(args.training.rpartition("-seed")[2])
    found = [one for one in trainings(plan, seed) if one.folder == args.training]
    if not found:
        raise ValueError(f"{args.rows} has no row for {args.training}: was it edited meanwhile?")
    (training,) = found
    add_validations(args.out / "validations.csv", training, args.out)
    result = add_result(args.out / "results.csv", training, args.out, args.common)
    print(
        f"{args.training}: test BLEU {result['test_bleu']}, valid BLEU {result['valid_bleu']} at "
        f"update {result['best_update']} of {training.updates}, {result['seconds']} s"
    )


def report(args, plan):
    """Keep the translations, compare, draw, and print the tables."""
    results = current_results(args, plan)
    keep_outputs(results, args.out)
    write_significance(args.out / "significance.csv", plan, results, args.out)
    print(made_tables(args, plan, results))
    print(progress(plan, results, args.seeds))
    validations = read_validations(args.out / "validations.csv")
    print(*draw_all(plan, results, validations, args.out), sep="\n")


def readme(args, plan):
    """Put the tables into the README next to the CSVs."""
    path = args.out / "README.md"
    if not (args.out / "results.csv").exists():
        raise ValueError(f"{args.out} has no results.csv, of which the tables of {path} are made.")
    text = with_tables(path, made_tables(args, plan, current_results(args, plan)))
    with atomic_file(path) as made:
        made.write_text(text, encoding="utf-8")


def made_tables(args, plan, results):
    """Return the tables of the results."""
    significance = read_significance(args.out / "significance.csv")
    return tables(plan, results, significance)


def current_results(args, plan):
    """Return the results of the plan as it is; say how many have other settings than its own."""
    path = args.out / "results.csv"
    results = read_results(path)
    seeds = max([args.seeds, *(int(row["seed"]) for row in results)])
    current = of_plan(results, trainings(plan, seeds))
    if left_out := len(results) - len(current):
        print(f"{left_out} rows of {path} are of no row of {args.rows}: left out", file=sys.stderr)
    return current


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for run in (list_trainings, add, report, readme):
        command = commands.add_parser(run.__name__.partition("_")[0], help=run.__doc__)
        command.set_defaults(run=run)
        command.add_argument("--rows", type=Path, required=True, help="the table of the trainings")
        command.add_argument("--out", type=Path, required=True, help="the folder of results.csv")
        if run in (list_trainings, add):
            command.add_argument(
                "--common", required=True, help="what the settings of all have in common, as a text"
            )
        if run is add:
            command.add_argument("training", help="its folder, CORPUS/ROW-seedN")
        else:
            command.add_argument("--seeds", type=at_least_one, default=3, help="(%(default)s)")
        if run is list_trainings:
            command.add_argument("--only", default="*", help="rows, or CORPUS/ROW, of such a name")
    args = parser.parse_args(argv)
    try:
        args.run(args, read_plan(args.rows))
    except (ValueError, OSError, MissingPackage, ScoringError) as error:
        sys.exit(f"{parser.prog}: {error}")
