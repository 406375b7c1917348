"""The programs of a task in examples/, in a folder where all goes, with stand-ins for programs."""

import os

from helpers.constants import REPOSITORY
from helpers.launch import activated, run


class Task:
    """A folder of examples/: ``Task("summarization", folder).run("train.sh", "headlines")``."""

    def __init__(self, name, folder):
        self.place, self.out, self.programs = REPOSITORY / "examples" / name, folder / "out", folder
        path = os.pathsep.join([str(folder), activated()["PATH"]])
        self.options = {"cwd": folder, "environment": {"PATH": path}}

    def run(self, program, *words):
        """Return the exit status and what was printed."""
        benchmark, *others = words
        words = (self.place / program, benchmark, "--out", self.out, *others)
        finished = run("bash", *words, check=False, **self.options)
        return finished.returncode, finished.stdout

    def stand_in(self, name, *lines):
        """Have a program replaced by a few lines of bash."""
        program = self.programs / name
        program.write_text("\n".join(["#!/usr/bin/env bash", *lines, ""]))
        program.chmod(0o755)

    def noted_training(self, *words):
        """Run train.sh with a stand-in for fairseq-train; return the arguments that it got."""
        given = self.programs / "given"
        note = (f'printf "%s\\n" "$@" >{given}', 'while [ "$1" != --save-dir ]; do shift; done')
        self.stand_in("fairseq-train", *note, 'touch "$2/checkpoint_last.pt"')
        (self.out / "binarized").mkdir(parents=True, exist_ok=True)
        status, said = self.run("train.sh", *words)
        assert status == 0, said
        return given.read_text().splitlines()
