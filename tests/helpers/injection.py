"""A fault inside a training, at the moment that a test names: it is killed, or the disk is full."""

import errno
import io
import itertools
import os
import shutil
import signal
from pathlib import Path


def kill_this_process() -> None:
    """A fault: the process is gone, as after a power failure."""
    os.kill(os.getpid(), signal.SIGKILL)


def raise_disk_full() -> None:
    """A fault: what a write to a full disk raises."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def inject(fault, moment, count) -> None:
    """Call ``fault`` at the ``count``-th call of the function of fairseq that ``moment`` names."""
    import torch
    from fairseq import checkpoint_utils
    from fairseq.tasks.translation import TranslationTask

    owner, name, before_the_fault = {
        "update": (TranslationTask, "train_step", _all_of_it),
        "validation": (TranslationTask, "valid_step", _all_of_it),
        "writing": (torch, "save", _half_of_save),
        "renaming": (os, "rename", _nothing),
        "copying": (shutil, "copyfile", _half_of_copy),
        "saved": (checkpoint_utils, "save_checkpoint", _all_of_it),
    }[moment]
    original = getattr(owner, name)
    calls = itertools.count(1)

    def with_fault(*arguments, **options):
        if next(calls) == count:
            before_the_fault(original, *arguments, **options)
            fault()
        return original(*arguments, **options)

    setattr(owner, name, with_fault)


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
