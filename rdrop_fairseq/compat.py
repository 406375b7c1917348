"""What fairseq, now archived, needs on today's Python, PyTorch and NumPy.

Importing the plugin calls :func:`mend_fairseq`. Every mend names the versions that need it and
leaves all others alone.
"""

import argparse
import collections
import functools
import os
import re
import sys
import types
import typing
from pathlib import Path

import fairseq
import numpy as np
import omegaconf
import torch
from fairseq import checkpoint_utils, utils
from fairseq.data import (
    bucket_pad_length_dataset,
    data_utils,
    language_pair_dataset,
    token_block_dataset,
)
from fairseq.distributed import utils as distributed_utils
from fairseq.file_io import PathManager
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase

PLUGIN_DIR = Path(__file__).resolve().parent
FAIRSEQ = tuple(int(number) for number in re.findall(r"\d+", fairseq.__version__)[:3])
NUMPY_2 = int(np.__version__.split(".")[0]) >= 2


def mend_fairseq() -> None:
    """Apply every mend that the installed versions need."""
    if torch.__version__ >= (2, 6):
        torch.serialization.add_safe_globals(checkpoint_types())
    if FAIRSEQ > (0, 12, 2):
        data_utils.batch_by_size = keep_last_batch(data_utils.batch_by_size)
    elif FAIRSEQ == (0, 12, 2) and torch.__version__ >= (2, 0):
        disable_encoder_fast_path()
    utils.import_user_module = accept_imported_plugin(utils.import_user_module)
    checkpoint_utils._torch_persistent_save = torch.save  # tries again behind what a failure left
    PathManager.copy = staticmethod(copy_whole(PathManager.copy))
    if "fairseq_cli.train" in sys.modules:
        train = sys.modules["fairseq_cli.train"]
        train.train = stop_at_max_update(train.train)
    if NUMPY_2:
        restore_numpy_names()


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


def keep_last_batch(batch_by_size):
    """fairseq after 0.12.2 drops the last batch of a data set, the longest sentences, silently.

    It does so wherever the size of that batch is not a multiple of
    ``--required-batch-size-multiple``. Batches hold consecutive indices, so what is missing at
    the end is exactly the batch that was dropped.
    """

    @functools.wraps(batch_by_size)
    def all_batches(indices, *args, **kwargs):
        if not isinstance(indices, np.ndarray):
            indices = np.fromiter(indices, dtype=np.int64, count=-1)
        batches = batch_by_size(indices, *args, **kwargs)
        kept = sum(len(batch) for batch in batches)
        return [*batches, indices[kept:]] if kept < len(indices) else batches

    return all_batches


def accept_imported_plugin(import_user_module):
    """fairseq refuses a ``--user-dir`` that spells the path of an imported package differently.

    A bare name, a symbolic link and its target, or a trailing ``/.`` all mean the plugin here.
    """

    @functools.wraps(import_user_module)
    def import_unless_this_plugin(args):
        user_dir = getattr(args, "user_dir", None)
        if user_dir is None or not is_this_plugin(Path(user_dir)):
            import_user_module(args)

    return import_unless_this_plugin


def is_this_plugin(user_dir: Path) -> bool:
    """Whether a ``--user-dir`` means the package that is being imported right now."""
    if user_dir.exists():
        return user_dir.samefile(PLUGIN_DIR)
    return str(user_dir) == PLUGIN_DIR.name


def copy_whole(copy):
    """fairseq copies a checkpoint straight to ``checkpoint_last.pt``: when killed, that is torn.

    No version can continue from a torn checkpoint, and the one before it is lost. Here the copy
    gets its name when it is whole, as the first of the checkpoints does in fairseq itself.
    """

    @functools.wraps(copy)
    def copy_and_rename(src_path, dst_path, overwrite=False):
        if not PathManager.supports_rename(dst_path):
            return copy(src_path, dst_path, overwrite)
        copied = copy(src_path, f"{dst_path}.tmp", overwrite=True)
        os.replace(f"{dst_path}.tmp", dst_path)
        return copied

    return copy_and_rename


def stop_at_max_update(train):
    """fairseq makes one update more each time a training at its ``--max-update`` is continued."""

    @functools.wraps(train)
    def train_unless_done(cfg, trainer, task, epoch_itr):
        if 0 < cfg.optimization.max_update <= trainer.get_num_updates():
            return [None], True
        return train(cfg, trainer, task, epoch_itr)

    return train_unless_done


def disable_encoder_fast_path() -> None:
    """fairseq 0.12.2 calls a fused encoder layer that PyTorch 2 no longer has in that form.

    Translating a padded batch then stops with ``Mask Type should be defined``. Layers take that
    path once weights were loaded into them; the ordinary path gives the same output.
    """
    load_weights = TransformerEncoderLayerBase._load_from_state_dict

    @functools.wraps(load_weights)
    def load_weights_only(layer, *args, **kwargs):
        load_weights(layer, *args, **kwargs)
        layer.load_to_BT = False

    TransformerEncoderLayerBase._load_from_state_dict = load_weights_only


def restore_numpy_names() -> None:
    """NumPy 2 removed two names that fairseq uses.

    Without ``np.percentile(interpolation=)`` ``--num-batch-buckets`` stops; without ``np.compat``
    that and language modelling with ``--sample-break-mode eos`` stop.
    """
    data_utils.get_buckets = bucket_pad_length_dataset.get_buckets = length_buckets
    numpy_with_compat = types.ModuleType("numpy")
    numpy_with_compat.__dict__.update(vars(np), compat=types.SimpleNamespace(long=int))
    token_block_dataset.np = language_pair_dataset.np = numpy_with_compat


def length_buckets(sizes, num_buckets: int) -> np.ndarray:
    """The upper bounds of ``num_buckets`` buckets of about equally many of ``sizes``."""
    return np.unique(np.percentile(sizes, np.linspace(0, 100, num_buckets + 1), method="lower")[1:])
