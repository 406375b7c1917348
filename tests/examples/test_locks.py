"""Two programs that would write to one place: the second is refused and names the first."""

import contextlib
import os
import re
import signal
import socket
import time

import pytest
from helpers.benchmarks import Scripts, free_port
from helpers.launch import start
from helpers.quickstart import QUICKSTART, Checkout

# What a stand-in for a program of fairseq does: it notes its number and goes on until it is killed.
NOTE, WORK = "echo $$ >>working", "exec sleep 100"


@pytest.fixture
def scripts(tmp_path):
    """The scripts, with all that prepare.sh and train.sh make before them."""
    scripts = Scripts(tmp_path)
    scripts.make_run("run")
    for folder in ("corpus", "subwords", "binarized"):
        (scripts.out / folder).mkdir()
    (scripts.out / "subwords" / "manifest.json").write_text("{}")
    for name in ("train", "generate", "preprocess"):
        scripts.stand_in(f"fairseq-{name}", NOTE, WORK)
    return scripts


@pytest.fixture
def begin(tmp_path):
    """Start a command that works; return it and the numbers of the processes at work."""
    begun = []

    def begin(*command, workers=1, **options):
        before = working(tmp_path)
        process = start(*command, start_new_session=True, **{"cwd": tmp_path, **options})
        begun.append(process)
        while len(working(tmp_path)) < len(before) + workers:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.05)
        return process, working(tmp_path)[len(before) :]

    yield begin
    for number in working(tmp_path):
        kill(number)
    for process in begun:
        process.kill()
        process.wait()


def working(folder):
    noted = folder / "working"
    return [int(line) for line in noted.read_text().splitlines()] if noted.exists() else []


def kill(number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, signal.SIGKILL)


def assert_refused(script, finished, place, worker):
    status, printed = finished
    host = re.escape(socket.gethostname())
    sentence = (
        rf"{re.escape(script)}: {re.escape(str(place))} is in use by {re.escape(script)} "
        rf"\(process {worker} on {host} since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\): "
        r"wait until that has ended, or end it\.\n"
    )
    assert re.fullmatch(sentence, printed), printed
    assert status == 1


COMMANDS = {
    "train.sh": (("--cpu",), "rdrop-alpha1-seed1"),
    "prepare.sh": (("--orig", "."), ""),
    "evaluate.sh": (("run", "--cpu"), "run/generate-test-best-beam5-lenpen1.log"),
}


@pytest.mark.parametrize("script", COMMANDS)
def test_a_second_one_is_refused_while_the_first_works(scripts, begin, script):
    words, place = COMMANDS[script]
    if script == "prepare.sh":
        (scripts.out / "binarized").rmdir()
    first, [worker] = begin(*scripts.command(script, *words), env=scripts.options["env"])
    assert_refused(script, scripts.run(script, *words), scripts.out / place, worker)
    # the script itself dies, and what it started works on
    first.kill()
    first.wait()
    assert_refused(script, scripts.run(script, *words), scripts.out / place, worker)
    assert working(scripts.folder) == [worker]
    kill(worker)
    begin(*scripts.command(script, *words), env=scripts.options["env"])


EXPORTED = ("evaluate.sh", "run", "--cpu", "--engine", "ctranslate2")


@pytest.mark.parametrize("program", ["export_ctranslate2.py", "translate.py"])
def test_an_export_is_kept_while_it_is_made_or_translates(scripts, begin, program):
    export = scripts.out / "run" / "ctranslate2-best"
    if program == "translate.py":
        export.mkdir()
    scripts.stand_in_for_script(program, NOTE, WORK)
    first, [worker] = begin(*scripts.command(*EXPORTED), env=scripts.options["env"])
    for beam in ("5", "2"):
        assert_refused("evaluate.sh", scripts.run(*EXPORTED, "--beam", beam), export, worker)
    first.kill()
    first.wait()
    assert_refused("evaluate.sh", scripts.run(*EXPORTED), export, worker)
    assert export.exists() == (program == "translate.py")
    kill(worker)
    begin(*scripts.command(*EXPORTED), env=scripts.options["env"])


def test_a_second_evaluation_is_refused_while_the_first_scores(scripts, begin):
    (scripts.out / "run" / "generate-test-best-beam5-lenpen1.log").write_text("already there")
    scripts.stand_in_for_script("score_bleu.py", NOTE, WORK)
    first, _ = begin(*scripts.command("evaluate.sh", "run"), env=scripts.options["env"])
    log = scripts.out / COMMANDS["evaluate.sh"][1]
    assert_refused("evaluate.sh", scripts.run("evaluate.sh", "run"), log, first.pid)


def test_a_second_preparation_keeps_what_the_first_one_has_made(scripts, begin):
    (scripts.out / "binarized").rmdir()
    make = ('while [ "$1" != --destdir ]; do shift; done', 'mkdir "$2"; touch "$2/half"')
    scripts.stand_in("fairseq-preprocess", *make, NOTE, WORK)
    begin(*scripts.command("prepare.sh", "--orig", "."), env=scripts.options["env"])
    assert scripts.run("prepare.sh", "--orig", ".")[0] == 1
    assert (scripts.out / "binarized.tmp" / "half").exists()


def test_other_runs_and_translations_are_not_refused(scripts, begin):
    environment = {"env": scripts.options["env"]}
    begin(*scripts.command("train.sh", "--cpu"), **environment)
    begin(*scripts.command("train.sh", "--cpu", "--seed", "2"), **environment)
    begin(*scripts.command("evaluate.sh", "run", "--cpu"), **environment)
    begin(*scripts.command("evaluate.sh", "run", "--cpu", "--beam", "2"), **environment)


def test_each_process_of_torchrun_holds_the_lock(scripts, begin):
    """torchrun closes every file but the standard ones before it starts them."""
    two = ("--cpu", "--processes", "2", "--master", f"localhost:{free_port()}")
    command = scripts.command("train.sh", *two, benchmark="wmt14_en_de")
    scripts.stand_in("fairseq-train", NOTE, 'echo "$PPID" >>torchrun', WORK)
    first, workers = begin(*command, workers=2, env=scripts.options["env"])
    first.kill()
    first.wait()
    kill(int((scripts.folder / "torchrun").read_text().split()[0]))
    kill(workers[0])
    status, printed = scripts.run("train.sh", *two, benchmark="wmt14_en_de")
    assert status == 1 and "rdrop-alpha5-seed1 is in use by train.sh (process" in printed
    assert len(working(scripts.folder)) == 2


def test_what_a_machine_that_lost_its_power_has_left_is_not_a_lock(scripts, begin):
    run = scripts.out / "rdrop-alpha1-seed1"
    run.mkdir()
    (run / ".lock").write_text("train.sh (process 1 on another since 2026-01-01 00:00:00)\n")
    begin(*scripts.command("train.sh", "--cpu"), env=scripts.options["env"])


def test_a_second_quickstart_is_refused_while_the_first_works(tmp_path, begin):
    checkout = Checkout(tmp_path / "checkout")
    program = checkout.folder / ".venv" / "bin" / "fairseq-train"
    program.write_text(f"#!/usr/bin/env bash\ncd {tmp_path}\n{NOTE}\n{WORK}\n")
    command = ("bash", QUICKSTART, "--out", tmp_path / "out")
    where = {"cwd": checkout.folder, "env": checkout.environment()}
    first, [worker] = begin(*command, **where)
    status, printed, calls = checkout.run("--out", str(tmp_path / "out"))
    assert_refused("quickstart.sh", (status, printed), tmp_path / "out" / "en-de", worker)
    assert calls == []
    first.kill()
    first.wait()
    finished = checkout.run("--out", str(tmp_path / "out"))
    assert_refused("quickstart.sh", finished[:2], tmp_path / "out" / "en-de", worker)
