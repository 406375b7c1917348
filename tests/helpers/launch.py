"""One way to start a program: as a process (`run`, `start`) or, quicker, as a fork (`fork`).

Importing fairseq takes seconds, a small program of it a fraction of one: `fork` gives fairseq's
programs a copy of a process that has imported fairseq, but not the plugin.
"""

import importlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from helpers.constants import REPOSITORY

FAIRSEQ_MODULES = {
    f"fairseq-{name}": f"fairseq_cli.{name.replace('-', '_')}"
    for name in ("preprocess", "train", "generate", "interactive", "validate", "eval-lm")
}
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload([*FAIRSEQ_MODULES.values(), "torch._dynamo"])  # the optimizer's


def run(name, *arguments, check=True, **options) -> subprocess.CompletedProcess:
    """Run a program to its end: ``run("fairseq-train", ...)``; ``.stdout`` has all it printed.

    Args:
        name: a program of this environment (``python`` too) or of the system (``bash``).
        check: whether a status other than 0 is an error of the test.
        options: of ``start``, or ``input``: text for the program to read.
    """
    finished = subprocess.run(**_process(name, *arguments, **options))
    return _checked(finished, check)


def start(name, *arguments, **options) -> subprocess.Popen:
    """Start a program and go on.

    Args:
        environment: {variable: value} to add to an activated environment.
        options: of ``subprocess.Popen``, in place of those below.
    """
    return subprocess.Popen(**_process(name, *arguments, **options))


def activated(**more) -> dict:
    """Environment variables as after ``source .venv/bin/activate``, one thread a program, more."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    chosen = {"VIRTUAL_ENV": "of the tests", "PATH": path, "OMP_NUM_THREADS": "1", **more}
    return {**os.environ, **chosen}


def _process(name, *arguments, environment=None, **options) -> dict:
    environment = activated(**environment or {})
    defaults = {
        "cwd": REPOSITORY,
        "env": environment,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "encoding": "utf-8",
    }
    if "input" not in options:
        defaults["stdin"] = subprocess.DEVNULL
    program = shutil.which(name, path=environment["PATH"])
    return {"args": [program, *map(str, arguments)], **defaults, **options}


def fork(name, *arguments, check=True, input="", prepare=None) -> subprocess.CompletedProcess:
    """Run a program of fairseq as `run` does, in a fork; the status is -9 if it was killed.

    Args:
        prepare: called in the fork before the program runs, so it must be of a module's top level,
            or a ``functools.partial`` of such a function.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, output = Path(folder, "given"), Path(folder, "output")
        given.write_text(input, "utf-8")
        words = [name, *map(str, arguments)]
        process = FORKSERVER.Process(target=_main, args=(words, given, output, prepare))
        process.start()
        process.join()
        text = output.read_text("utf-8", "replace")
    return _checked(subprocess.CompletedProcess(words, process.exitcode, text), check)


def _main(words, given, output, prepare):
    import torch

    torch.set_num_threads(1)
    sys.argv = words
    module = importlib.import_module(FAIRSEQ_MODULES[words[0]])
    with open(given, encoding="utf-8") as sys.stdin, open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        if prepare:
            prepare()
        module.cli_main()


def _checked(finished, check):
    if check and finished.returncode != 0:
        name = Path(finished.args[0]).name
        raise AssertionError(
            f"{name} ended with {finished.returncode}:\n{finished.stdout}{finished.stderr or ''}"
        )
    return finished
