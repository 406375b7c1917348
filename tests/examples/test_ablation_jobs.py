"""How the ablation study shares its trainings among its jobs, with stand-ins for fairseq."""

import contextlib
import os
import signal
import time

import pytest
from helpers.benchmarks import Scripts
from helpers.constants import REPOSITORY
from helpers.launch import run, start

PROGRAM = REPOSITORY / "examples" / "ablations" / "run.sh"
ROWS = """
updates 6
view_cost 0.9
plain | base | multi30k-150 | plain | 1 | 1 | - |
rdrop | base | multi30k-150 | rdrop | 2 | 1 | - |
"""
STAGES = ("corpus", "subwords", "binarized", "binarized-bidirectional")
FIND_FOLDER = 'while [ "$1" != --save-dir ]; do shift; done; cd "$2"'
MAKE = (
    'echo \'{"epoch": 1, "valid_bleu": "5", "valid_num_updates": "6"}\' >train.log',
    "touch checkpoint_best.pt",
)
OUTPUT = r"printf 'T-0\ta house\nD-0\t-1\ta house\nGenerate test with beam=5: \n'"


@pytest.fixture
def scripts(tmp_path):
    """Programs in a folder where all corpora are prepared, if only in name."""
    scripts = Scripts(tmp_path)
    for stage in STAGES:
        (scripts.out / "multi30k-150" / stage).mkdir(parents=True)
    (tmp_path / "rows.txt").write_text(ROWS)
    (tmp_path / "orig").mkdir()
    scripts.stand_in("fairseq-generate", OUTPUT)
    return scripts


def command(scripts, *words):
    given = ("--rows", "rows.txt", "--orig", "orig", "--out", scripts.out, "--cpu")
    return ("bash", PROGRAM, *given, *words)


def finish(scripts, *words):
    finished = run(*command(scripts, *words), check=False, **scripts.options)
    return finished.returncode, finished.stdout


@pytest.mark.parametrize("jobs", [1, 3])
def test_each_training_runs_once_and_never_more_than_jobs_at_a_time(scripts, jobs):
    count = f'ls -d "{scripts.folder}"/running.* | wc -l >>"{scripts.folder}/counts"'
    running = f'"{scripts.folder}/running.$$"'
    train = (FIND_FOLDER, f"touch {running}", count, "sleep 0.3", f"rm {running}", *MAKE)
    scripts.stand_in("fairseq-train", *train)
    status, printed = finish(scripts, "--jobs", str(jobs))
    assert status == 0, printed
    assert "6 of 6 trainings are done." in printed
    counts = [int(line) for line in (scripts.folder / "counts").read_text().split()]
    assert len(counts) == 6 and max(counts) <= jobs
    assert (max(counts) > 1) == (jobs > 1)
    trained = [line.split()[2] for line in printed.splitlines() if line.startswith("==> training")]
    names = [f"multi30k-150/{row}-seed{n}:" for n in (1, 2, 3) for row in ("plain", "rdrop")]
    assert sorted(trained) == sorted(names)
    status, printed = finish(scripts)
    assert status == 0 and "0 trainings are to be run" in printed and "==> training" not in printed


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_one_that_fails_leaves_the_others_and_is_run_again(scripts, jobs):
    broken = '[[ $PWD != */rdrop-seed2 ]] || { echo "why it failed"; exit 1; }'
    scripts.stand_in("fairseq-train", FIND_FOLDER, broken, *MAKE)
    status, printed = finish(scripts, "--jobs", jobs)
    assert status == 1
    assert "5 of 6 trainings are done." in printed
    folder = scripts.out / "multi30k-150" / "rdrop-seed2"
    assert f"run.sh: the training {folder} stopped; its file output says why" in printed
    assert printed.endswith("run.sh: a training failed; the lines above say which\n")
    assert (folder / "output").read_text() == "why it failed\n"
    scripts.stand_in("fairseq-train", FIND_FOLDER, *MAKE)
    status, printed = finish(scripts, "--jobs", jobs)
    assert status == 0 and "1 trainings are to be run" in printed


@pytest.mark.parametrize("other", ["| 2 | 1 | - | --lr 1", "| 2 | 1 | plain |"])
def test_other_settings_do_not_continue_a_training(scripts, other):
    scripts.stand_in("fairseq-train", FIND_FOLDER, *MAKE)
    assert finish(scripts, "--seeds", "1")[0] == 0
    rows = (scripts.folder / "rows.txt").read_text().replace("| 2 | 1 | - |", other)
    (scripts.folder / "rows.txt").write_text(rows)
    status, printed = finish(scripts, "--seeds", "1")
    assert status == 1 and "1 trainings are to be run" in printed
    assert "rdrop-seed1 was begun with other settings" in printed
    assert "remove that folder to train it again" in printed


@pytest.mark.parametrize(
    "words", [("--bpe-size", "70"), ("--validations", "3"), ("--", "--lr", "9")], ids=" ".join
)
def test_results_of_other_common_settings_are_not_mixed(scripts, words):
    scripts.stand_in("fairseq-train", FIND_FOLDER, *MAKE)
    assert finish(scripts, "--seeds", "1")[0] == 0
    status, printed = finish(scripts, "--seeds", "1", *words)
    assert status == 1
    assert "results.csv has trainings with other settings (--arch transformer" in printed
    assert printed.endswith("): name another folder with --out.\n")


def test_prepared_corpora_need_no_archives(scripts):
    scripts.stand_in("fairseq-train", FIND_FOLDER, *MAKE)
    words = ("bash", PROGRAM, "--rows", "rows.txt", "--out", scripts.out, "--cpu")
    finished = run(*words, check=False, **scripts.options)
    assert finished.returncode == 0, finished.stdout
    assert not (scripts.out / "orig").exists()


def test_interface_strings_with_other_subwords_are_refused(scripts):
    scripts.stand_in("fairseq-train", FIND_FOLDER, *MAKE)
    rows = ROWS.replace("multi30k-150", "interface-es-150")
    (scripts.folder / "rows.txt").write_text(rows)
    corpus = scripts.out / "interface-es-150"
    for stage in STAGES[:3]:
        (corpus / stage).mkdir(parents=True)
    assert finish(scripts, "--seeds", "1")[0] == 0
    (scripts.out / "results.csv").unlink()  # it would refuse them first
    status, printed = finish(scripts, "--seeds", "1", "--bpe-size", "70")
    assert status == 1
    assert printed.endswith(
        f"run.sh: {corpus} was begun with other settings (4000 subwords): "
        "remove that folder to make it again\n"
    )


def test_an_output_that_was_lost_is_made_again(scripts):
    scripts.stand_in("fairseq-train", FIND_FOLDER, *MAKE)
    assert finish(scripts, "--seeds", "1")[0] == 0
    (scripts.out / "multi30k-150" / "rdrop-seed1" / "generate.log").unlink()
    (scripts.out / "results.csv").unlink()
    status, printed = finish(scripts, "--seeds", "1")
    assert status == 0 and "2 of 6" not in printed and "2 of 2 trainings are done." in printed
    trained = [line.split()[2] for line in printed.splitlines() if line.startswith("==> training")]
    assert trained == ["multi30k-150/rdrop-seed1:"]


@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_a_signal_ends_every_training(scripts, name):
    note = f'echo $$ >>"{scripts.folder}/started"'
    scripts.stand_in("fairseq-train", note, "exec sleep 60")
    process = start(*command(scripts, "--jobs", "2"), start_new_session=True, **scripts.options)
    started = scripts.folder / "started"
    while process.poll() is None and not (
        started.exists() and len(started.read_text().split()) > 1
    ):
        time.sleep(0.05)
    process.send_signal(getattr(signal, f"SIG{name}"))
    printed, _ = process.communicate(timeout=20)
    assert process.returncode == 128 + getattr(signal, f"SIG{name}")
    assert printed.endswith("run.sh: stopped; the same command continues from here.\n")
    assert printed.count("stopped") == 1
    for number in started.read_text().split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(number), 0)
            pytest.fail("a training goes on")


def test_what_outlives_its_script_starts_no_further_training(scripts):
    note = f'echo $$ >>"{scripts.folder}/started"'
    wait = f'until [ -e "{scripts.folder}/go" ]; do sleep 0.05; done'
    scripts.stand_in("fairseq-train", FIND_FOLDER, note, wait, *MAKE)
    process = start(*command(scripts, "--jobs", "1"), start_new_session=True, **scripts.options)
    while process.poll() is None and not (scripts.folder / "started").exists():
        time.sleep(0.05)
    process.kill()
    process.wait()
    (scripts.folder / "go").touch()
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.killpg(process.pid, 0)
            time.sleep(0.05)
    assert len((scripts.folder / "started").read_text().split()) == 1
    assert (scripts.out / "results.csv").read_text().count("multi30k-150") == 1
