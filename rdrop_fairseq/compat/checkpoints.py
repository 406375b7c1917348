"""Loading checkpoints safely, and saving them whole or not at all."""

import argparse
import collections
import errno
import functools
import os
import pickle
import re
import typing

import numpy as np
import omegaconf
import torch
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager

CHECKS_TYPES = torch.__version__ >= (2, 6)
"""Whether this PyTorch checks the types in a checkpoint: ``torch.load(weights_only=True)``."""

TOO_SHORT = errno.EINVAL
"""The number of the ``OSError`` of ``torch.load`` where a file is too short."""


def allow_checkpoint_types() -> None:
    """Let ``torch.load`` accept what fairseq's checkpoints hold."""
    if CHECKS_TYPES:
        torch.serialization.add_safe_globals(checkpoint_types())


def checkpoint_types() -> list:
    """The types in fairseq's checkpoints that ``torch.load(weights_only=True)`` does not know.

    PyTorch 2.6 and newer load with ``weights_only=True``, which refuses every type that is not on
    a list, so that a checkpoint cannot run code. Here is what fairseq itself writes, no more.
    """
    reconstruct = np.zeros(0).__reduce__()[0]
    arrays = [  # the counts that --eval-bleu keeps in the metrics, written under NumPy 1 or 2
        np.ndarray,
        np.dtype,
        type(np.dtype(np.int64)),
        type(np.dtype(np.float64)),  # fairseq adds the counts of several processes up so
        (reconstruct, "numpy.core.multiarray._reconstruct"),
        (reconstruct, "numpy._core.multiarray._reconstruct"),
    ]
    broadcast = [  # what the first rank sends to the others when a distributed training resumes
        omegaconf.DictConfig,
        omegaconf.ListConfig,
        omegaconf.base.ContainerMetadata,
        omegaconf.base.Metadata,
        omegaconf.nodes.AnyNode,
        (typing.Any, "typing.Any"),  # which has no __qualname__ before Python 3.11
        dict,
        list,
        int,
        collections.defaultdict,
        distributed_utils._TensorPlaceholder,
    ]
    return [argparse.Namespace, *arrays, *broadcast]


class CheckpointError(RuntimeError, OSError, EOFError, pickle.UnpicklingError):
    """Why a checkpoint was not loaded, in a sentence for the user.

    It is all that ``torch.load`` raises for a damaged file: whoever catches that catches this.
    """


def explain_refusal(load_checkpoint):
    """PyTorch does not name a damaged file, and tells how to load a hostile one anyway.

    Errors of the system, such as a missing file, a folder or a broken disk, stay as they are.
    """

    @functools.wraps(load_checkpoint)
    def load_or_explain(path, *args, **kwargs):
        try:
            return load_checkpoint(path, *args, **kwargs)
        except (pickle.UnpicklingError, OSError, RuntimeError, EOFError) as error:
            if isinstance(error, OSError) and error.errno != TOO_SHORT:
                raise
            raise CheckpointError(why_not_loaded(path, error)) from None

    return load_or_explain


def why_not_loaded(path, error: Exception) -> str:
    """A sentence on a checkpoint for which ``torch.load`` raised ``error``."""
    refused = re.search(r"GLOBAL ([\w.]*\w)", str(error))
    if refused:
        return (
            f"{path} was not loaded: it asks for {refused[1]}, which fairseq's checkpoints do not "
            "hold and which may run a command of whoever made it."
        )
    reason = str(error).partition("\n")[0]
    return f"{path} is cut short, or not a checkpoint of fairseq: {type(error).__name__}: {reason}"


def save_once(persistent_save):
    """Save once: fairseq tries again after a failure, and appends to the half-written file."""
    return torch.save


def copy_atomically(copy):
    """fairseq copies a checkpoint straight to ``checkpoint_last.pt``: when killed, that is torn.

    No version can continue from a torn checkpoint, and the one before it is lost. Here the copy
    gets its name when it is whole, as the first of the checkpoints does in fairseq itself.
    """

    @functools.wraps(copy)
    def copy_and_rename(src_path, dst_path, overwrite=False):
        if not overwrite or not PathManager.supports_rename(dst_path):
            return copy(src_path, dst_path, overwrite)
        part = f"{dst_path}.tmp"
        copied = copy(src_path, part, overwrite)
        if copied:
            os.replace(part, dst_path)
        return dst_path if copied == part else copied

    return copy_and_rename
