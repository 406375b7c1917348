"""The small runs: every training of theirs, and the table that a README shows of them."""

import pytest
from helpers.constants import REPOSITORY
from helpers.launch import run
from helpers.tasks import Task

from rdrop_tools.runs.seed_scores import FIELDS, scores_table
from rdrop_tools.scores_csv import read_csv

# Makes a whole checkpoint, and notes what was trained.
TRAIN = """
import sys, zipfile
words = sys.argv[1:]
given = dict(zip(words, words[1:]))
folder = given["--save-dir"]
for name in ("last", "best"):
    zipfile.ZipFile(f"{folder}/checkpoint_{name}.pt", "w").writestr("model", "")
called = [given["--criterion"], given["--seed"], given.get("--train-subset", "")]
print(*filter(None, called), file=open(sys.argv[0] + ".calls", "a"))
"""


@pytest.fixture
def task(tmp_path):
    """The small run of headlines, whose text is prepared, with stand-ins for fairseq."""
    task = Task("summarization", tmp_path)
    tokenized = task.out / "headlines" / "subwords" / "tokenized"
    tokenized.mkdir(parents=True)
    (tokenized / "test.title").write_text("Turn on\n")
    for made in ("corpus", "binarized"):
        (task.out / "headlines" / made).mkdir()
    task.stand_in("fairseq-preprocess")
    stand_in_for_training(task)
    task.stand_in("fairseq-generate", 'printf "D-0\\t-1\\tTurn it on\\n"')
    return task


def stand_in_for_training(task):
    program = task.programs / "train.py"
    program.write_text(TRAIN)
    task.stand_in("fairseq-train", f'exec python {program} "$@"')


def small(task, *words):
    command = ("bash", task.place / "small.sh", "--out", task.out, *words)
    return run(*command, check=False, **task.options)


def test_both_methods_in_every_seed_and_a_second_run_trains_nothing(task):
    finished = small(task, "--seeds", "2")
    assert finished.returncode == 0, finished.stdout
    assert finished.stdout.splitlines()[-2:] == [
        f"| headlines | {method} | 2 | 80.00 ± 0.00 | 0.00 ± 0.00 | 80.00 ± 0.00 |"
        for method in ("plain", "R-Drop")
    ]
    calls = task.programs / "train.py.calls"
    assert calls.read_text().splitlines() == [
        f"{criterion} {seed}"
        for seed in (1, 2)
        for criterion in (
            "label_smoothed_cross_entropy",
            "rdrop_label_smoothed_cross_entropy",
        )
    ]
    calls.unlink()
    again = small(task, "--seeds", "2")
    assert again.stdout.splitlines()[-4:] == finished.stdout.splitlines()[-4:]
    assert not calls.exists()


def test_a_training_that_fails_ends_the_run(task):
    task.stand_in("fairseq-train", "exit 1")
    finished = small(task)
    assert finished.returncode == 1
    assert "train.sh: the training stopped" in finished.stdout
    assert not (task.out / "summarization.csv").exists()


def test_strings_are_classified_with_some_all_and_without_labels(tmp_path):
    task = Task("language_understanding", tmp_path)
    (task.out / "interface_strings" / "subwords").mkdir(parents=True)
    sets = task.out / "interface_strings" / "binarized" / "input0"
    sets.mkdir(parents=True)
    for name in ("train-300", "train-1000", "train", "semi-300"):
        (sets / f"{name}.bin").touch()
    task.stand_in("fairseq-preprocess")
    stand_in_for_training(task)
    result = '| INFO | test | {"test_loss": "1.5", "test_accuracy": "62"}'
    task.stand_in("fairseq-validate", f"echo '{result}'")
    finished = small(task, "--seeds", "1")
    assert finished.returncode == 0, finished.stdout
    both = ("sentence_prediction", "rdrop_sentence_prediction")
    trained = [(name, c) for name in ("train-300", "train-1000", "train") for c in both]
    trained.append(("semi-300", both[1]))
    calls = (tmp_path / "train.py.calls").read_text().splitlines()
    assert calls == [f"{criterion} 1 {name}" for name, criterion in trained]
    assert finished.stdout.splitlines()[-len(trained) :] == [
        f"| {name} | {'R-Drop' if criterion == both[1] else 'plain'} | 1 | 62.00 |"
        for name, criterion in trained
    ]


RESULTS = (
    "ablations/late_start/length_penalty.csv",
    "ablations/late_start/scores.csv",
    "ablations/late_start/token_scores.csv",
    "language_modeling/small.csv",
    "language_understanding/addrop.csv",
    "language_understanding/small.csv",
    "summarization/small.csv",
)


@pytest.mark.parametrize("name", RESULTS)
def test_the_table_of_the_readme_is_that_of_its_results(name):
    results = REPOSITORY / "examples" / name
    assert scores_table(read_csv(results, FIELDS)) in (results.parent / "README.md").read_text(
        "utf-8"
    )
