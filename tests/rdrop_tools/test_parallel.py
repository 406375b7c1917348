"""Results come in order and the input is not read far ahead, however many workers there are."""

import argparse
import os
import random
import signal
import time

import pytest
from helpers.launch import start

from rdrop_tools import parallel


def doubled(chunk):
    time.sleep(random.random() / 100)
    return [2 * item for item in chunk]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_order(workers, monkeypatch):
    monkeypatch.setattr(parallel, "CHUNK", 7)
    chunks = parallel.map_chunks(doubled, range(200), workers)
    assert [item for chunk in chunks for item in chunk] == list(range(0, 400, 2))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_input_is_read_no_further_than_needed(workers, monkeypatch):
    monkeypatch.setattr(parallel, "CHUNK", 7)
    read = []
    items = (read.append(item) or item for item in range(10_000))
    next(chunks := parallel.map_chunks(doubled, items, workers))
    assert len(read) <= 7 * parallel.AHEAD * workers
    chunks.close()


def failing(chunk):
    raise OSError("no space left")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_worker_arrives(workers):
    with pytest.raises(OSError, match="no space left"):
        list(parallel.map_chunks(failing, range(10), workers))


def killed(chunk):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_worker_is_one_sentence():
    with pytest.raises(OSError, match="a worker process was killed.*fewer --workers"):
        list(parallel.map_chunks(killed, range(10), 2))


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", ""])
def test_fewer_workers_than_one_are_refused(text, capsys):
    parser = argparse.ArgumentParser()
    parallel.add_workers_argument(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--workers", text])
    message = f"argument --workers: must be a whole number from 1 on, not '{text}'"
    assert message in capsys.readouterr().err
    assert parser.parse_args(["--workers", "3"]).workers == 3


def test_workers_end_with_a_parent_that_was_killed():
    """Otherwise they would wait for work for ever, and hold what they inherited."""
    code = (
        "import time; from rdrop_tools.parallel import map_chunks;"
        "chunks = map_chunks(list, range(4000), 2); next(chunks); time.sleep(1);"
        "print('at work', flush=True); time.sleep(60)"
    )
    parent = start("python", "-c", code)
    assert parent.stdout.readline() == "at work\n"
    parent.kill()
    # its output ends when the last of them has ended
    assert parent.communicate(timeout=20)[0] == ""
