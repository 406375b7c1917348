"""A lock names its holder, and ends with the last program that holds it."""

import errno
import fcntl
import os
import re
import socket
import subprocess
import sys

import pytest
from helpers.launch import start

from rdrop_tools import lock
from rdrop_tools.atomic import atomic_file, atomic_folder
from rdrop_tools.lock import locked

HOLD = """
import sys
from pathlib import Path
from rdrop_tools.lock import locked
with locked(Path(sys.argv[1]), "the place"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def hold(path):
    """Start a program that holds the lock until its input ends."""
    started = []

    def hold():
        process = start("python", "-c", HOLD, path, stdin=subprocess.PIPE)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in started:
        process.kill()
        process.communicate()


def take(path):
    with locked(path, "the place"):
        pass


def test_a_lock_that_is_held_is_refused_and_names_its_holder(path, hold):
    holder = hold()
    with pytest.raises(BlockingIOError) as refused:
        take(path)
    host = re.escape(socket.gethostname())
    assert re.fullmatch(
        rf"the place is in use by -c \(process {holder.pid} on {host} since "
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\): wait until that has ended, or end it\.",
        str(refused.value),
    )


def test_a_lock_ends_with_its_program(path, hold):
    holder = hold()
    holder.communicate("")
    take(path)
    assert not path.exists()
    killed = hold()
    killed.kill()
    killed.wait()
    assert path.exists()
    take(path)
    assert not path.exists()


@pytest.mark.parametrize(
    "left", ["", "train.sh (process 1 on another.host since 2026-01-01)", "\0"]
)
def test_a_file_that_a_power_failure_left_is_not_a_lock(path, left):
    path.write_text(left)
    take(path)


def test_what_a_killed_program_leaves_has_a_moment_to_end(path):
    path.write_text(f"train.sh (process {dead()} on {socket.gethostname()} since 2026-01-01)\n")
    # holds the open file for a second, as PyTorch's data workers do for some
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        subprocess.Popen(["sleep", "1"], pass_fds=[file.fileno()])
    take(path)


def test_what_holds_on_longer_is_refused(path, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE", 0.5)
    text = f"train.sh (process {dead()} on {socket.gethostname()} since 2026-01-01)"
    path.write_text(f"{text}\n")
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError, match=re.escape(text)):
            take(path)


def dead():
    """Return the number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_file_of_a_lock_that_is_being_released_is_not_taken(path, monkeypatch):
    """As its holder removes it between the opening and the locking."""
    flock = fcntl.flock

    def removed_before(descriptor, operation):
        os.unlink(path)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", removed_before)
    with pytest.raises(BlockingIOError, match="was in use until now: run the same command again"):
        take(path)


def test_a_file_system_without_locks_is_used_with_a_warning(path, monkeypatch, capsys):
    def unsupported(descriptor, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    take(path)
    assert capsys.readouterr().err == (
        "the place is on a file system without locks: start no second program that writes there.\n"
    )


@pytest.mark.parametrize("atomic", [atomic_file, atomic_folder])
def test_a_second_maker_of_an_output_leaves_the_first_one_alone(tmp_path, atomic):
    out = tmp_path / "out"
    with atomic(out) as made:
        if atomic is atomic_file:
            made.write_text("the first")
        with (
            pytest.raises(BlockingIOError, match=f"{re.escape(str(out))} is in use by"),
            atomic(out),
        ):
            pass
        assert made.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_is_there_already_is_refused_and_nothing_left(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(FileExistsError, match="exists already"), atomic_folder(tmp_path / "out"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
