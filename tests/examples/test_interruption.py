"""The scripts that users run, killed, interrupted or on a full disk: nothing half-made passes."""

import gzip
import shutil
import subprocess
import zipfile

import pytest
from helpers.benchmarks import Scripts
from helpers.constants import EXAMPLES
from helpers.faults import contents, full_disk, kill_at_random, run_undisturbed
from helpers.quickstart import QUICKSTART, Checkout

pytestmark = pytest.mark.faults
PREPARATION = ("--orig", "orig", "--bpe-size", "300", "--workers", "1")
STAGES = ("corpus", "subwords", "binarized")


@pytest.fixture(scope="module")
def orig(shared_data, tmp_path_factory):
    """A few sentences of Multi30k, packed as its archives are."""
    folder = tmp_path_factory.mktemp("originals") / "orig"
    folder.mkdir()
    for name, count in {"train": 700, "val": 60, "test_2016_flickr": 60}.items():
        for language in ("en", "de"):
            archive = f"{name}.{language}.gz"
            with gzip.open(shared_data / "multi30k" / archive) as text:
                lines = b"".join(line for line, _ in zip(text, range(count)))
            folder.joinpath(archive).write_bytes(gzip.compress(lines, mtime=0))
    return folder


@pytest.fixture
def scripts(orig, tmp_path):
    (tmp_path / "orig").symlink_to(orig)
    return Scripts(tmp_path)


@pytest.fixture(scope="module")
def prepared(orig, tmp_path_factory):
    """What an undisturbed preparation makes, and how long it takes."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "orig").symlink_to(orig)
    scripts = Scripts(folder)
    command = scripts.command("prepare.sh", *PREPARATION)
    seconds = run_undisturbed(command, stdout=subprocess.DEVNULL, **scripts.options)
    return scripts.out, seconds


# In these stands when the programs worked, and where
LOG = ("preprocess.log", ".lock")


def test_preparation_killed_ten_times_makes_the_same_bytes(prepared, scripts):
    undisturbed, seconds = prepared
    command = scripts.command("prepare.sh", *PREPARATION)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **scripts.options}

    def check():
        assert contents(scripts.out, but=LOG) == contents(undisturbed, but=LOG)

    kill_at_random(command, seconds, check, scripts.out, **quiet)
    run_undisturbed(command, **quiet)
    check()


def without(prepared, scripts, stage):
    """Give the scripts what was prepared before a stage."""
    shutil.copytree(prepared[0], scripts.out)
    for later in STAGES[STAGES.index(stage) :]:
        shutil.rmtree(scripts.out / later)


@pytest.mark.parametrize("stage", STAGES)
def test_preparation_on_a_full_disk(prepared, scripts, stage):
    without(prepared, scripts, stage)
    before = contents(scripts.out)
    with full_disk(at=20_000):
        status, printed = scripts.run("prepare.sh", *PREPARATION)
    assert status == 1, printed
    if stage == "binarized":
        assert "fairseq-preprocess failed" in printed
        assert "File too large" in (scripts.out / "preprocess.log").read_text()
    else:
        assert "no room for" in printed and "run the same command again" in printed
    left = {name for name in contents(scripts.out) if "binarized.tmp" not in name}
    assert left == set(before)


def test_preparation_interrupted(prepared, scripts):
    """In its last stage, by a fairseq-preprocess that has made half and then gets a Ctrl-C."""
    without(prepared, scripts, "binarized")
    scripts.stand_in(
        "fairseq-preprocess",
        'while [ "$1" != --destdir ]; do shift; done',
        'mkdir -p "$2"; echo half >"$2/dict.en.txt"; kill -INT 0; sleep 60',
    )
    status, printed = scripts.run("prepare.sh", *PREPARATION)
    assert status == 130
    assert printed.endswith("prepare.sh: stopped; the same command continues from here.\n")
    assert not (scripts.out / "binarized").exists()
    status, printed = scripts.run("train.sh", "--cpu")
    assert status == 1 and "run prepare.sh first" in printed


@pytest.mark.parametrize("end", ["kill -INT 0; sleep 60", "exit 1"], ids=["ctrl-c", "full disk"])
def test_training_that_stops_says_what_to_do(prepared, scripts, end):
    shutil.copytree(prepared[0], scripts.out)
    run = scripts.out / "rdrop-alpha1-seed1"
    scripts.stand_in("fairseq-train", f"touch {run}/checkpoint_last.pt", end)
    status, printed = scripts.run("train.sh", "--cpu")
    if end == "exit 1":
        assert (status, "the same command continues it" in printed) == (1, True)
    else:
        assert status == 130
        assert printed.endswith("train.sh: stopped; the same command continues from here.\n")
    assert "trained:" not in printed


HALF = f"head -n 20 {EXAMPLES / 'README.md'}"


@pytest.mark.parametrize("end", ["kill -INT 0; sleep 60", "exit 1"], ids=["ctrl-c", "full disk"])
def test_evaluation_that_stops_is_not_an_evaluation(prepared, scripts, end):
    shutil.copytree(prepared[0], scripts.out)
    run = scripts.out / "run"
    run.mkdir()
    (run / "settings").write_text("en-de --criterion any\n")
    with zipfile.ZipFile(run / "checkpoint_best.pt", "w") as checkpoint:
        checkpoint.writestr("archive/data.pkl", "the model")
    scripts.stand_in("fairseq-generate", HALF, end)
    status, printed = scripts.run("evaluate.sh", "--cpu", "run")
    assert "BLEU" not in printed
    assert [path for path in run.glob("generate*") if path.suffix != ".tmp"] == []
    if end == "exit 1":
        assert (status, "fairseq-generate failed" in printed) == (1, True)
    else:
        assert status == 130
        assert printed.endswith("evaluate.sh: stopped; the same command continues from here.\n")


# Stand for those programs that write in place, and give a kill the time to find them at it.
SLOW = {
    "fairseq-preprocess": ('for folder; do :; done; mkdir "$folder"', '>>"$folder/train.bin"'),
    "fairseq-generate": (":", ""),
}


def test_quickstart_killed_ten_times_makes_the_same_bytes(tmp_path):
    """Its trainings stop by the clock, so stand-ins that do not are what can be compared."""
    checkout = Checkout(tmp_path / "checkout")
    for name, (begin, where) in SLOW.items():
        loop = rf'for n in 0 1 2 3 4; do printf "D-$n\t-0.5\tresult\n" {where}; sleep 0.15; done'
        program = checkout.folder / ".venv" / "bin" / name
        program.write_text(f"#!/usr/bin/env bash\n{begin}\n{loop}\n")
    options = {
        "cwd": checkout.folder,
        "env": checkout.environment(),
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
    }
    command = ["bash", str(QUICKSTART), "--out", "out", "--compare"]
    seconds = run_undisturbed(command, **options)
    made, logs = checkout.folder / "out", ("quickstart.log", "train.log", ".lock")
    undisturbed = contents(made, but=logs)
    shutil.rmtree(made)

    def check():
        assert contents(made, but=logs) == undisturbed

    kill_at_random(command, seconds, check, made, **options)
    run_undisturbed(command, **options)
    check()
    assert undisturbed["en-de/rdrop-12min/generate.log"].count(b"result") == 5
