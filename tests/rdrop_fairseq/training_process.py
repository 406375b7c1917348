"""fairseq-train in a process of its own that can be killed, without the seconds of its imports.

Each process is forked from one that has imported fairseq, and then runs what the command runs.
"""

import errno
import io
import itertools
import multiprocessing
import os
import shutil
import signal
import sys
from pathlib import Path

from conftest import PLUGIN, TRAINING

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["fairseq_cli.train", "torch._dynamo"])  # the optimizer's


def fairseq_train(data, folder, *arguments, prepare=None) -> int:
    """Train, with checkpoints and the output in ``folder``; return the exit status, -9 if killed.

    Args:
        prepare: called in the new process before it trains, so it must be of a module's top level,
            or a ``functools.partial`` of such a function.
    """
    words = [str(data), *TRAINING, f"--user-dir={PLUGIN}", f"--save-dir={folder}", *arguments]
    process = FORKSERVER.Process(target=_train, args=(words, Path(folder), prepare))
    process.start()
    process.join()
    return process.exitcode


def _train(words, folder, prepare):
    folder.mkdir(exist_ok=True)
    output = os.open(folder / "output.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(output, stream.fileno())
    sys.argv = ["fairseq-train", *words]

    import torch
    from fairseq_cli import train

    torch.set_num_threads(1)
    if prepare:
        prepare()
    train.cli_main()


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def full_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def befall(blow, moment, count) -> None:
    """Have ``blow`` called in the ``count``-th call of a function, which ``moment`` names."""
    import torch
    from fairseq import checkpoint_utils
    from fairseq.tasks.translation import TranslationTask

    owner, name, act = {
        "update": (TranslationTask, "train_step", _all_of_it),
        "validation": (TranslationTask, "valid_step", _all_of_it),
        "writing": (torch, "save", _half_of_save),
        "renaming": (os, "rename", _nothing),
        "copying": (shutil, "copyfile", _half_of_copy),
        "saved": (checkpoint_utils, "save_checkpoint", _all_of_it),
    }[moment]
    original = getattr(owner, name)
    calls = itertools.count(1)

    def struck(*arguments, **options):
        if next(calls) == count:
            act(original, *arguments, **options)
            blow()
        return original(*arguments, **options)

    setattr(owner, name, struck)


def _all_of_it(original, *arguments, **options):
    original(*arguments, **options)


def _nothing(original, *arguments):
    pass


def _half_of_save(save, content, file):
    whole = io.BytesIO()
    save(content, whole)
    file.write(whole.getvalue()[: whole.tell() // 2])
    file.flush()


def _half_of_copy(copy, source, target):
    whole = Path(source).read_bytes()
    Path(target).write_bytes(whole[: len(whole) // 2])
