"""TERM and INT that reach a script alone, as from `kill`, end what it has started as well."""

import os
import signal
import subprocess
import time

import pytest
from helpers.benchmarks import Scripts, free_port
from helpers.launch import start
from helpers.quickstart import QUICKSTART, Checkout

# A stand-in notes its number, and then the signal that ends it.
WORK = (
    *(
        'for name in TERM INT; do trap "echo $name >>signals; exit 1" $name; done',
        "echo $$ >>at_work",
    ),
    "while :; do sleep 0.1; done",
)
STATUS = {"TERM": 143, "INT": 130}


@pytest.fixture
def scripts(tmp_path):
    scripts = Scripts(tmp_path)
    for folder in ("corpus", "subwords", "binarized"):
        (scripts.out / folder).mkdir(parents=True)
    (scripts.out / "subwords" / "manifest.json").write_text("{}")
    for name in ("train", "preprocess"):
        scripts.stand_in(f"fairseq-{name}", *WORK)
    return scripts


@pytest.fixture
def begin(tmp_path):
    """Start a command and wait until as many processes as it has are at work."""
    begun = []

    def begin(*command, processes=1, **options):
        process = start(*command, **{"cwd": tmp_path, **options})
        begun.append(process)
        while len(noted(tmp_path / "at_work")) < processes:
            assert process.poll() is None, process.stdout.read()
            time.sleep(0.05)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.wait()
    for number in noted(tmp_path / "at_work"):
        subprocess.run(["kill", "-9", number], stderr=subprocess.DEVNULL)


def noted(path):
    return path.read_text().split() if path.exists() else []


def end(process, name):
    """Send a signal to a process alone; return its exit status and what it printed."""
    process.send_signal(getattr(signal, f"SIG{name}"))
    printed = process.communicate(timeout=60)[0]
    return process.returncode, printed


@pytest.mark.parametrize("name", STATUS)
@pytest.mark.parametrize("script", ["train.sh", "prepare.sh"])
def test_a_signal_is_passed_on(scripts, begin, tmp_path, script, name):
    words = {"train.sh": ("--cpu",), "prepare.sh": ("--orig", ".")}[script]
    if script == "prepare.sh":
        (scripts.out / "binarized").rmdir()
    process = begin(*scripts.command(script, *words), env=scripts.options["env"])
    status, printed = end(process, name)
    assert status == STATUS[name]
    assert printed.endswith(f"{script}: stopped; the same command continues from here.\n")
    assert noted(tmp_path / "signals") == [name]
    # and it is not in the way of the same command
    (tmp_path / "at_work").unlink()
    begin(*scripts.command(script, *words), env=scripts.options["env"])


@pytest.mark.parametrize("name", STATUS)
@pytest.mark.parametrize(
    "program", ["average_checkpoints.py", "export_ctranslate2.py", "translate.py"]
)
def test_a_signal_ends_each_program_of_an_evaluation(scripts, begin, tmp_path, program, name):
    run = scripts.make_run("run")
    if program == "translate.py":
        (run / "ctranslate2-best").mkdir()
    scripts.stand_in_for_script(program, *WORK)
    choice = "--ema" if program == "average_checkpoints.py" else "--cpu"
    command = scripts.command("evaluate.sh", "run", "--engine", "ctranslate2", choice)
    status, printed = end(begin(*command, env=scripts.options["env"]), name)
    assert status == STATUS[name]
    assert printed.endswith("evaluate.sh: stopped; the same command continues from here.\n")
    assert noted(tmp_path / "signals") == [name]


@pytest.mark.parametrize("name", STATUS)
def test_a_signal_ends_all_that_torchrun_has_started(scripts, begin, tmp_path, name):
    two = ("--cpu", "--processes", "2", "--master", f"localhost:{free_port()}")
    command = scripts.command("train.sh", *two, benchmark="wmt14_en_de")
    process = begin(*command, processes=2, env=scripts.options["env"])
    status, printed = end(process, name)
    assert (status, "train.sh: stopped; the same command continues" in printed) == (
        STATUS[name],
        True,
    )
    assert len(noted(tmp_path / "signals")) == 2
    for number in noted(tmp_path / "at_work"):
        assert not os.path.exists(f"/proc/{number}/exe")


def test_ctrl_c_which_reaches_both_is_not_sent_to_the_training_again(scripts, begin, tmp_path):
    command = scripts.command("train.sh", "--cpu")
    process = begin(*command, env=scripts.options["env"], start_new_session=True)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert noted(tmp_path / "signals") == ["INT"]


def test_where_ctrl_c_is_ignored_it_stays_so_and_term_ends_it(scripts, begin, tmp_path):
    """As for what a shell script has put into the background, with nohup or without."""

    def ignore():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    command = scripts.command("train.sh", "--cpu")
    process = begin(*command, env=scripts.options["env"], preexec_fn=ignore)
    process.send_signal(signal.SIGINT)
    time.sleep(2)
    assert process.poll() is None and noted(tmp_path / "signals") == []
    assert end(process, "TERM")[0] == 143


@pytest.mark.parametrize("name", STATUS)
def test_the_quickstart_ends_its_training(begin, tmp_path, name):
    checkout = Checkout(tmp_path / "checkout")
    program = checkout.folder / ".venv" / "bin" / "fairseq-train"
    program.write_text("\n".join(["#!/usr/bin/env bash", f"cd {tmp_path}", *WORK]))
    where = {"cwd": checkout.folder, "env": checkout.environment()}
    status, printed = end(begin("bash", QUICKSTART, "--out", "out", **where), name)
    assert status == STATUS[name]
    assert printed.endswith("Interrupted. The same command continues from here.\n")
    assert noted(tmp_path / "signals") == [name]
