"""train.sh on many machines, in the form that the README documents, and what may go wrong there.

The machines are two processes on this one, which find each other through a port.
"""

import os
import re

import pytest
from helpers import launch
from helpers.benchmarks import SMALL_MODEL, free_port
from helpers.constants import EXAMPLES

TINY = (*SMALL_MODEL, "--max-tokens", "100", "--disable-validation", "--no-epoch-checkpoints")


@pytest.fixture
def start(tmp_path, corpus):
    """Start WMT14's train.sh on the toy corpus; programs in ``tmp_path`` stand in for others."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "binarized").symlink_to(corpus.translation)

    def start(*options):
        path = os.pathsep.join([str(tmp_path), launch.activated()["PATH"]])
        words = (EXAMPLES / "train.sh", "wmt14_en_de", "--cpu", "--out", out, *options)
        end = ("--max-updates", "2", "--", *TINY)
        return launch.start("bash", *words, *end, cwd=tmp_path, environment={"PATH": path})

    return start


def test_two_machines_make_one_training(start, tmp_path):
    readme = (EXAMPLES / "README.md").read_text("utf-8")
    documented = re.findall(r"train\.sh wmt14_en_de (--nodes 2 .*)", readme)
    assert len(documented) == 2
    here = f"localhost:{free_port()}"
    commands = [line.replace("first.example:29500", here).split() for line in documented]
    machines = [start(*options) for options in commands]
    printed = [machine.communicate()[0] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], "\n".join(printed)
    assert all("2 x 8 batches of 4096 tokens an update" in text for text in printed)
    log = (tmp_path / "out" / "rdrop-alpha5-seed1" / "train.log").read_text()
    assert "'distributed_world_size': 2," in log
    assert log.count('"train_num_updates": "2"') == 1


def test_a_training_that_trained_nothing_is_refused(start, tmp_path):
    """A stand-in for what the newer fairseq does after some mistakes: nothing, with success."""
    pretender = tmp_path / "fairseq-train"
    pretender.write_text("#!/bin/sh\nexit 0\n")
    pretender.chmod(0o755)
    training = start()
    printed = training.communicate()[0]
    assert training.returncode != 0
    last = printed.splitlines()[-1]
    assert re.fullmatch(
        r"train\.sh: fairseq-train made no checkpoint in .*/rdrop-alpha5-seed1", last
    )
