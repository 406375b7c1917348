"""AD-DROP on interface strings: which trainings its two programs make, and what they show."""

import json

import pytest
from fairseq import options
from helpers.launch import run
from helpers.tasks import Task

import rdrop_fairseq  # noqa: F401

# Makes a whole checkpoint and a log of one validation, and notes its arguments.
TRAIN = """
import json, sys, zipfile
words = sys.argv[1:]
folder = words[words.index("--save-dir") + 1]
for name in ("last", "best"):
    zipfile.ZipFile(f"{folder}/checkpoint_{name}.pt", "w").writestr("model", "")
entry = {"epoch": 1, "valid_accuracy": "61", "valid_num_updates": "50"}
print(json.dumps(entry), file=open(folder + "/train.log", "w"))
print(json.dumps(words), file=open(sys.argv[0] + ".calls", "a"))
"""
ATTRIBUTIONS = ("gradient", "integrated", "attention", "random")
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)


@pytest.fixture
def task(tmp_path):
    """Prepared strings with 300 labels, with stand-ins for fairseq."""
    task = Task("language_understanding", tmp_path)
    (task.out / "interface_strings" / "subwords").mkdir(parents=True)
    sets = task.out / "interface_strings" / "binarized" / "input0"
    sets.mkdir(parents=True)
    (sets / "train-300.bin").touch()
    task.stand_in("fairseq-preprocess")
    (task.programs / "train.py").write_text(TRAIN)
    task.stand_in("fairseq-train", f'exec python {task.programs / "train.py"} "$@"')
    result = '| INFO | test | {"test_loss": "1.5", "test_accuracy": "62"}'
    task.stand_in("fairseq-validate", f"echo '{result}'")
    return task


def start(task, program):
    """Run one of the programs with one seed; return what it printed."""
    command = ("bash", task.place / program, "--out", task.out, "--seeds", "1")
    finished = run(*command, check=False, **task.options)
    assert finished.returncode == 0, finished.stdout
    return finished.stdout


def trainings(task):
    """The arguments of each training, as fairseq-train reads them."""
    lines = (task.programs / "train.py.calls").read_text().splitlines()
    parser = options.get_training_parser
    return [options.parse_args_and_arch(parser(), json.loads(line)) for line in lines]


def test_each_attribution_is_trained_with_and_without_cross_tuning(task):
    said = start(task, "addrop.sh")
    made = trainings(task)
    assert {one.train_subset for one in made} == {"train-300"}
    assert [one.criterion for one in made[:2]] == [
        "sentence_prediction",
        "rdrop_sentence_prediction",
    ]
    assert {one.criterion for one in made[2:]} == {"addrop_sentence_prediction"}
    assert [(one.addrop_attribution, one.no_cross_tuning) for one in made[2:]] == [
        (attribution, every_epoch) for attribution in ATTRIBUTIONS for every_epoch in (False, True)
    ]
    assert "| train-300 | AD-DROP, random, every epoch | 1 | 62.00 |" in said.splitlines()[-1]
    assert start(task, "addrop.sh").splitlines()[-10:] == said.splitlines()[-10:]
    assert len(trainings(task)) == len(made) == 10  # the second run trains nothing


def test_the_heat_map_is_of_every_p_and_q(task):
    said = start(task, "addrop_grid.sh")
    made = trainings(task)
    grid = [(p, q) for p in SHARES for q in SHARES]
    assert [(one.addrop_p, one.addrop_q) for one in made] == grid
    assert {one.criterion for one in made} == {"addrop_sentence_prediction"}
    picture = task.out / "addrop-grid.png"
    assert said.splitlines()[-1] == f"==> the heat map is {picture}"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert not (task.out / "addrop.csv").exists()  # the test set is not looked at
