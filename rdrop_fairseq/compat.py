"""What fairseq, now archived, needs on today's Python, PyTorch and NumPy.

Importing the plugin calls :func:`mend_fairseq`. Every mend names the versions that need it and
leaves all others alone.
"""

import argparse
import collections
import functools
import pickle
import re
import types
import typing
from pathlib import Path
from unittest import mock

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
from fairseq.modules.transformer_layer import TransformerEncoderLayerBase
from fairseq.trainer import Trainer

PLUGIN_DIR = Path(__file__).resolve().parent
FAIRSEQ = tuple(int(number) for number in re.findall(r"\d+", fairseq.__version__)[:3])
NUMPY_2 = int(np.__version__.split(".")[0]) >= 2
CHECKS_TYPES = torch.__version__ >= (2, 6)  # when it loads a checkpoint: weights_only=True


def mend_fairseq() -> None:
    """Apply every mend that the installed versions need."""
    if CHECKS_TYPES:
        torch.serialization.add_safe_globals(checkpoint_types())
    if FAIRSEQ > (0, 12, 2):
        data_utils.batch_by_size = keep_last_batch(data_utils.batch_by_size)
    elif FAIRSEQ == (0, 12, 2) and torch.__version__ >= (2, 0):
        disable_encoder_fast_path()
    checkpoint_utils.load_checkpoint_to_cpu = explain_refusal(
        checkpoint_utils.load_checkpoint_to_cpu
    )
    utils.import_user_module = accept_imported_plugin(utils.import_user_module)
    Trainer.train_step = overflow_without_gpu(leave_out_empty_batches(Trainer.train_step))
    Trainer._set_seed = seed_ranks_apart(Trainer._set_seed)
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


class CheckpointError(Exception):
    """Why a checkpoint was not loaded, in a sentence for the user."""


def explain_refusal(load_checkpoint):
    """PyTorch names no file that is damaged, and tells how to load a hostile one regardless."""

    @functools.wraps(load_checkpoint)
    def load_or_explain(path, *args, **kwargs):
        try:
            return load_checkpoint(path, *args, **kwargs)
        except FileNotFoundError:
            raise
        except (pickle.UnpicklingError, OSError, RuntimeError, EOFError) as error:
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
    return f"{path} is cut short, or no checkpoint of fairseq: {type(error).__name__}: {reason}"


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


def leave_out_empty_batches(train_step):
    """Every fairseq forgets the tokens of a rank whose last batch of an update is empty.

    That is the end of an epoch with ``--update-freq`` above 1, when the ranks have unequally many
    batches. The gradient, divided by too few tokens, is then too large. A rank with nothing but
    empty batches is no problem, nor is fully sharded training spared a pass that others wait for.
    """

    @functools.wraps(train_step)
    def train_step_of_batches(trainer, samples, *args, **kwargs):
        if not trainer.is_fsdp:
            samples = [sample for sample in samples if sample] or samples[:1]
        return train_step(trainer, samples, *args, **kwargs)

    return train_step_of_batches


def seed_ranks_apart(set_seed):
    """Every fairseq seeds all ranks alike before an update.

    Batches of one shape would then get the same dropout masks on every rank. The ranks' seeds lie
    2**24 apart, further than a training has updates; the first rank keeps fairseq's. In fully
    sharded training all ranks have to draw the same layers to drop, and fairseq's seeds stay.
    """

    @functools.wraps(set_seed)
    def set_seed_of_rank(trainer):
        set_seed(trainer)
        rank = trainer.data_parallel_rank
        if rank > 0 and not trainer.is_fsdp:
            seed = trainer.cfg.common.seed + trainer.get_num_updates()
            utils.set_torch_seed(seed + (rank << 24))

    return set_seed_of_rank


def overflow_without_gpu(train_step):
    """Every fairseq moves a tensor to the GPU when fp16 overflows, even with ``--cpu``.

    Training then stops with ``Torch not compiled with CUDA enabled``, where on a GPU it lowers the
    loss scale and goes on.
    """

    @functools.wraps(train_step)
    def train_step_on_its_device(trainer, *args, **kwargs):
        if trainer.cuda:
            return train_step(trainer, *args, **kwargs)
        with mock.patch.object(torch.Tensor, "cuda", lambda tensor: tensor):
            return train_step(trainer, *args, **kwargs)

    return train_step_on_its_device


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
