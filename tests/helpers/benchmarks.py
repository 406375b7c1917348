"""The scripts of the translation benchmarks, with a model and a validation of seconds."""

import os
import socket
import sys
import zipfile

from helpers.constants import EXAMPLES
from helpers.launch import activated, run

SMALL_MODEL = (  # the benchmark's own settings, but a model and a validation that take seconds
    *("--arch", "transformer", "--encoder-layers", "1", "--decoder-layers", "1"),
    *("--encoder-embed-dim", "16", "--encoder-ffn-embed-dim", "16", "--encoder-attention-heads"),
    *("2", "--decoder-embed-dim", "16", "--decoder-ffn-embed-dim", "16"),
    *("--decoder-attention-heads", "2", "--eval-bleu-args", '{"beam": 1, "max_len_b": 3}'),
    *("--max-tokens", "2000", "--log-interval", "1", "--num-workers", "0"),
)


class Scripts:
    """The scripts of a benchmark, run in a folder that has the archives and where all goes."""

    def __init__(self, folder):
        self.folder, self.out, self.programs = folder, folder / "out", folder / "programs"
        self.programs.mkdir()
        path = os.pathsep.join([str(self.programs), activated()["PATH"]])
        self.options = {"cwd": folder, "env": activated(PATH=path)}

    def command(self, script, *words, benchmark="multi30k_en_de"):
        return ["bash", str(EXAMPLES / script), benchmark, "--out", str(self.out), *words]

    def run(self, script, *words, **benchmark):
        """Return the exit status and what was printed."""
        command = self.command(script, *words, **benchmark)
        # in a session of its own, so that `kill -INT 0` in it reaches only what it has started
        finished = run(*command, check=False, start_new_session=True, **self.options)
        return finished.returncode, finished.stdout

    def stand_in(self, name, *lines):
        """Have a program of fairseq replaced by a few lines of bash."""
        self.programs.joinpath(name).write_text("\n".join(["#!/usr/bin/env bash", *lines, ""]))
        self.programs.joinpath(name).chmod(0o755)

    def stand_in_for_script(self, name, *lines):
        """Have a Python program of the folder scripts replaced by a few lines of bash."""
        real_python = f'exec "{sys.executable}" "$@"'
        self.stand_in("python", f"case $1 in *{name})", *lines, ";; esac", real_python)

    def make_run(self, name):
        """Make a folder that train.sh may have made, with a checkpoint that is whole."""
        run = self.out / name
        run.mkdir(parents=True)
        (run / "settings").write_text("en-de --criterion any\n")
        with zipfile.ZipFile(run / "checkpoint_best.pt", "w") as checkpoint:
            checkpoint.writestr("archive/data.pkl", "the model")
        os.utime(run / "checkpoint_best.pt", (0, 0))  # older than what a test makes of it
        return run


def free_port():
    """Return a port on this machine that no program listens to."""
    with socket.socket() as a_socket:
        a_socket.bind(("localhost", 0))
        return a_socket.getsockname()[1]
