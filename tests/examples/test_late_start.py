"""The continuations of one plain training: what they train, and what they report."""

import csv
from decimal import ROUND_HALF_UP, Decimal

import pytest
from helpers.constants import REPOSITORY
from helpers.launch import run

from rdrop_tools.runs.log import read_entries

PROGRAM = REPOSITORY / "examples" / "ablations" / "late_start" / "run.sh"
CONTINUATIONS = """
plain | 1    | 1 |
late  | 0.75 | 2 | --reg-alpha 1   # a comment
"""
LAST = {"constant": 30, "plain": 60, "late": 52}  # of 60 updates: 45, and half of the other 15
FOLDER = PROGRAM.parent
LAST_TENTH = {  # line of the README's table: its method
    "alpha 1, test set": "rdrop-90",
    "alpha 1, validation set, as all below": "rdrop-90",
    "alpha 0.5": "rdrop-90-alpha0.5",
    "half of the sentences": "rdrop-90-share0.5",
    "a quarter of the sentences": "rdrop-90-share0.25",
    "half of the batch, so that an update costs as much as a plain one": "rdrop-90-half-batch",
    "token cutoff": "rdrop-90-cutoff",
}


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    """The program's folder, and its command once more."""
    folder = tmp_path_factory.mktemp("late_start")
    (folder / "continuations.txt").write_text(CONTINUATIONS)
    words = ("bash", PROGRAM, corpus.translation, "--updates", 60, "--out", folder / "out")
    command = (*words, "--continuations", folder / "continuations.txt", "--test", "la*")
    run(*command)
    return folder / "out", command


@pytest.mark.parametrize(("name", "last"), LAST.items())
def test_every_training_has_the_computing_that_was_left(finished, name, last):
    log = finished[0] / "60-updates-seed1" / name / "train.log"
    assert read_entries(log, "valid")[-1]["num_updates"] == last


def test_the_learning_rate_goes_on_from_that_of_the_plain_training(finished):
    log = (finished[0] / "60-updates-seed1" / "late" / "train.log").read_text("utf-8")
    # 2e-3 until update 30 and falling to zero at 60; from 45 on to zero at 52
    assert "'lr': [0.001]" in log
    assert "'warmup_updates': 45" in log and "'total_num_update': 52" in log
    assert "'reg_alpha': 1.0" in log


def test_a_continuation_begins_where_the_plain_training_stood(finished):
    log = finished[0] / "60-updates-seed1" / "late" / "train.log"
    # the first line of every ten updates
    assert read_entries(log, "train_inner")[0]["num_updates"] == 50


def test_its_scores_are_collected_and_nothing_is_trained_twice(finished):
    out, command = finished
    with open(out / "scores.csv", encoding="utf-8", newline="") as file:
        scores = {(row["method"], row["score"]) for row in csv.DictReader(file)}
    names = ("ppl", "BLEU", "length ratio")
    assert scores == {
        *((method, f"valid {name}") for method in ("plain", "late") for name in names),
        *(("late", f"test {name}") for name in names[1:]),
    }
    before = (out / "scores.csv").read_bytes()
    assert "training" not in run(*command).stdout
    assert (out / "scores.csv").read_bytes() == before


def test_a_continuation_with_other_settings_is_refused(finished):
    out, command = finished
    table = out.parent / "stronger.txt"
    table.write_text(CONTINUATIONS.replace("--reg-alpha 1", "--reg-alpha 3"))
    refused = run(*command, "--continuations", table, check=False)
    assert refused.returncode == 1
    assert "60-updates-seed1/late was begun with other settings (" in refused.stdout
    assert "remove that folder to train it again" in refused.stdout


def test_a_number_of_updates_without_twentieths_is_refused(tmp_path):
    refused = run("bash", PROGRAM, "data", "--updates", 30, "--out", tmp_path, check=False)
    assert refused.returncode == 2
    assert "--updates must be a multiple of 20, not '30'" in refused.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [None, "# none\n"])
def test_a_table_without_continuations_is_refused_before_the_training(tmp_path, text):
    table = tmp_path / "continuations.txt"
    if text is not None:
        table.write_text(text)
    words = ("bash", PROGRAM, "data", "--out", tmp_path / "out", "--continuations", table)
    refused = run(*words, check=False)
    assert refused.returncode == 2
    assert "run.sh: --continuations: " in refused.stdout and "continuations.txt'" in refused.stdout
    assert not (tmp_path / "out").exists()


def test_what_was_not_finished_begins_anew(finished):
    out, command = finished
    late = out / "60-updates-seed1" / "late"
    (late / "trained").unlink()
    (late / "of before").touch()
    (late / "settings").write_text("others")
    run(*command)
    assert (late / "trained").exists() and not (late / "of before").exists()


def test_a_start_without_a_checkpoint_is_refused(finished):
    out, command = finished
    table = out.parent / "between.txt"
    table.write_text("odd | 0.77 | 2 | --reg-alpha 1\n")
    refused = run(*command, "--continuations", table, check=False)
    assert refused.returncode == 1
    assert "no checkpoint at update 46: odd needs another start in" in refused.stdout


def test_another_dropout_or_criterion_is_another_benchmark(corpus, tmp_path):
    simcut = "simcut_label_smoothed_cross_entropy"
    table = tmp_path / "continuations.txt"
    table.write_text("plain | 1 | 1 |\nlate | 0.75 | 2 | --reg-alpha 3\n")
    words = ("bash", PROGRAM, corpus.translation, "--updates", 20, "--dropout", 0.25)
    out = tmp_path / "an out"
    run(*words, "--criterion", simcut, "--continuations", table, "--out", out)
    log = (out / f"20-updates-dropout-0.25-{simcut}-seed1" / "late" / "train.log").read_text(
        "utf-8"
    )
    assert ", dropout=0.25," in log
    assert "criterion: SimCut" in log
    with open(out / "scores.csv", encoding="utf-8", newline="") as file:
        benchmarks = {row["benchmark"] for row in csv.DictReader(file)}
    assert benchmarks == {f"20 updates, dropout 0.25, {simcut}"}


@pytest.mark.parametrize(("line", "method"), LAST_TENTH.items())
def test_the_differences_in_the_readme_are_those_of_the_scores(line, method):
    kind = "test BLEU" if "test set" in line else "valid BLEU"
    with open(FOLDER / "scores.csv", encoding="utf-8", newline="") as file:
        scores = {
            (row["method"], row["seed"]): Decimal(row["value"])
            for row in csv.DictReader(file)
            if (row["benchmark"], row["score"]) == ("3400 updates", kind)
        }
    cells = []
    for seed in "12345":
        own = scores.get((method, seed))
        gain = own and (own - scores["plain", seed]).quantize(Decimal("0.1"), ROUND_HALF_UP)
        cells.append("" if own is None else f"{gain:+}")
    row = f"| {' | '.join([line, *cells])} |".replace("|  |", "| |").replace("|  |", "| |")
    assert row in (FOLDER / "README.md").read_text("utf-8").splitlines()
