"""The programs of language understanding: their options, and RTE from its files to a score."""

import json
import re
import shutil

import pytest
from helpers.constants import REPOSITORY, USER_DIR
from helpers.launch import fork, run
from helpers.tasks import Task

TASK = REPOSITORY / "examples" / "language_understanding"
BENCHMARKS = sorted(path.parent.name for path in TASK.glob("*/settings.sh"))
PROGRAMS = ("prepare.sh", "train.sh", "evaluate.sh", "small.sh")
TINY = (
    *("--encoder-layers=1", "--encoder-embed-dim=16", "--encoder-ffn-embed-dim=32"),
    *("--encoder-attention-heads=2", "--max-positions=64"),
)


def test_there_are_nine_benchmarks():
    glue = ["cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst_2", "sts_b"]
    assert sorted([*glue, "interface_strings"]) == BENCHMARKS


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_has_help(program):
    said = run("bash", TASK / program, "--help").stdout
    assert said.startswith(f"Usage: bash examples/language_understanding/{program}")
    if program != "small.sh":
        assert ", ".join(BENCHMARKS) in said


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_settings_are_complete(benchmark, tmp_path):
    """Every program reads them before it stops for lack of data."""
    out = ("--out", tmp_path)
    for program, arguments, message in (
        ("train.sh", (), "run prepare.sh first"),
        ("evaluate.sh", ("run",), "there is no run"),
    ):
        said = run("bash", TASK / program, benchmark, *arguments, *out, check=False)
        assert said.returncode == 1 and message in said.stdout


def test_processes_that_would_make_a_larger_update_are_refused(tmp_path):
    """A --batch-size is one for each process, so a second one would double the update."""
    task = Task("language_understanding", tmp_path)
    (task.out / "binarized" / "input0").mkdir(parents=True)
    (task.out / "binarized" / "input0" / "train.bin").touch()
    assert "--batch-size" in task.noted_training("interface_strings", "--cpu", "--name", "one")
    two = ("--cpu", "--processes", "2", "--name", "two")
    status, said = task.run("train.sh", "interface_strings", *two)
    assert status == 1 and "2 processes cannot share an update of 1 x" in said


def test_glue_without_its_files_is_refused_in_a_sentence(tmp_path):
    said = run("bash", TASK / "prepare.sh", "rte", "--out", tmp_path / "out", check=False)
    assert said.returncode == 1
    assert said.stdout == (
        "prepare.sh: GLUE is not downloaded here: give --orig the folder with RTE/train.tsv and "
        "the other published files\n"
    )


@pytest.fixture
def published(tmp_path):
    """RTE with a few lines, and a folder like that of roberta.large, whose model is empty."""
    from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

    (tmp_path / "RTE").mkdir()
    lines = [f"{n}\tIt is {n}.\tIt is {n % 5}.\t{'not_' * (n % 2)}entailment" for n in range(24)]
    for name in ("train", "dev"):
        text = "\n".join(["index\tsentence1\tsentence2\tlabel", *lines]) + "\n"
        (tmp_path / "RTE" / f"{name}.tsv").write_text(text)
    roberta = tmp_path / "roberta"
    roberta.mkdir()
    symbols = {symbol: number for number, symbol in enumerate(bytes_to_unicode().values())}
    (roberta / "encoder.json").write_text(json.dumps(symbols))
    (roberta / "vocab.bpe").write_text("#version: 0.2\n")
    (roberta / "dict.txt").write_text("".join(f"{number} 1\n" for number in range(256)))
    (roberta / "model.pt").touch()
    return tmp_path


@pytest.mark.parametrize("missing", ["model.pt", "dict.txt", "encoder.json", "vocab.bpe"])
def test_an_incomplete_roberta_is_refused_before_anything_is_made(published, missing):
    roberta, out = published / "roberta", published / "out"
    (roberta / missing).unlink()
    words = ("rte", "--orig", published, "--roberta", roberta, "--out", out)
    said = run("bash", TASK / "prepare.sh", *words, check=False)
    assert said.returncode == 1
    assert said.stdout == (
        f"prepare.sh: there is no {roberta / missing}: give --roberta the folder of roberta.large\n"
    )
    assert [path.name for path in out.iterdir()] == [".lock"]


def test_subwords_stand_only_next_to_their_dictionary_and_model(published):
    """Else a second run, which skips the subwords, would train another model from scratch."""
    out = published / "out"
    (out / "dict.txt" / "dict.txt").mkdir(parents=True)  # so that it cannot be copied there
    words = ("rte", "--orig", published, "--roberta", published / "roberta", "--out", out)
    said = run("bash", TASK / "prepare.sh", *words, check=False)
    assert said.returncode != 0 and not (out / "subwords").exists()


def make_roberta(data, folder):
    """The checkpoint of a tiny model, whose head has another name."""
    head = ("--classification-head-name=other", "--criterion=sentence_prediction")
    fork(
        *("fairseq-train", data, USER_DIR, "--cpu", "--task=sentence_prediction"),
        *("--num-classes=2", "--arch=roberta_large", *TINY, *head, "--batch-size=8"),
        *("--optimizer=adam", "--lr=1e-3", "--max-update=1", f"--save-dir={folder / 'made'}"),
    )
    shutil.copy(folder / "made" / "checkpoint_last.pt", folder / "roberta" / "model.pt")


@pytest.mark.slow
def test_rte_from_published_files_to_a_score(published):
    out = published / "out"
    places = ("--orig", published, "--roberta", published / "roberta")
    run("bash", TASK / "prepare.sh", "rte", *places, "--out", out)
    make_roberta(out / "binarized", published)
    small = (
        "--cpu",
        "--out",
        out,
        "--max-updates",
        "6",
        "--name",
        "tiny",
        "--",
        *TINY,
        "--lr=1e-3",
    )
    said = run("bash", TASK / "train.sh", "rte", *small).stdout
    assert re.search(r"loading pretrained model from .*pretrained.pt", said)
    assert "already trained" in run("bash", TASK / "train.sh", "rte", *small).stdout
    said = run("bash", TASK / "evaluate.sh", "rte", "tiny", "--cpu", "--out", out).stdout
    assert re.search(r"^accuracy [\d.]+$", said, re.M)
