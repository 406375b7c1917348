"""Every patch of fairseq in one table: what is replaced, in which versions, and why.

fairseq is archived. The plugin applies the patches that the installed versions need, for every
criterion. ``RDROP_FAIRSEQ_PATCHES=off`` leaves fairseq as it is, for whoever looks for the
cause of a difference; what loading checkpoints safely needs is not a patch and stays.
"""

import logging
import os
import pkgutil
import re
from typing import Callable, NamedTuple

import fairseq
import numpy as np
import torch

from rdrop_fairseq.compat import (
    batches,
    checkpoints,
    encoder,
    numpy_2,
    progress,
    ranks,
    trainer,
    user_dir,
)

logger = logging.getLogger(__name__)

SWITCH = "RDROP_FAIRSEQ_PATCHES"
FAIRSEQ = tuple(int(number) for number in re.findall(r"\d+", fairseq.__version__)[:3])
NUMPY = int(np.__version__.split(".")[0])
TORCH = int(torch.__version__.split(".")[0])


class Patch(NamedTuple):
    """One attribute of fairseq, and what takes its place."""

    target: str
    """Module and attribute: ``package.module:Class.attribute``."""
    replace: Callable
    """From the original to the replacement; its docstring has the details."""
    needed: Callable[[], bool]
    versions: str
    """``needed`` in words."""
    effect: str
    """What a user would notice without the patch."""

    def apply(self) -> None:
        """Put the replacement in the place of the original."""
        module, _, attribute = self.target.partition(":")
        inside, _, name = attribute.rpartition(".")
        owner = pkgutil.resolve_name(f"{module}:{inside}")  # "module:" is the module itself
        replacement = self.replace(getattr(owner, name))
        is_static = isinstance(vars(owner).get(name), staticmethod)
        setattr(owner, name, staticmethod(replacement) if is_static else replacement)


def always() -> bool:
    """For every fairseq."""
    return True


def after_0_12_2() -> bool:
    """For fairseq after its last release on PyPI."""
    return FAIRSEQ > (0, 12, 2)


def has_numpy_2() -> bool:
    """Whether this NumPy lacks what NumPy 2 removed."""
    return NUMPY >= 2


EVERY = "all"
NUMPY_2 = "all, with NumPy 2"
PATCHES = (
    Patch(
        "fairseq.data.data_utils:batch_by_size",
        batches.keep_last_batch,
        after_0_12_2,
        "after 0.12.2",
        "The last batch of a data set, its longest sentences, is silently dropped when its "
        "size is not a multiple of `--required-batch-size-multiple`: in training, validation and "
        "translation.",
    ),
    Patch(
        "fairseq.modules.transformer_layer:TransformerEncoderLayerBase._load_from_state_dict",
        encoder.disable_fast_path,
        lambda: FAIRSEQ == (0, 12, 2) and TORCH >= 2,
        "0.12.2, with PyTorch 2",
        "Translating a padded batch stops with `Mask Type should be defined`.",
    ),
    Patch(
        "fairseq.data.bucket_pad_length_dataset:get_buckets",
        numpy_2.length_buckets,
        has_numpy_2,
        NUMPY_2,
        "`--num-batch-buckets` stops, since NumPy 2 removed a name that fairseq uses.",
    ),
    Patch(
        "fairseq.data.language_pair_dataset:np",
        numpy_2.numpy_with_compat,
        has_numpy_2,
        NUMPY_2,
        "`--num-batch-buckets` stops, for another such name.",
    ),
    Patch(
        "fairseq.data.token_block_dataset:np",
        numpy_2.numpy_with_compat,
        has_numpy_2,
        NUMPY_2,
        "Language modelling with `--sample-break-mode eos` stops, for the same name.",
    ),
    Patch(
        "fairseq.utils:import_user_module",
        user_dir.accept_imported_plugin,
        always,
        EVERY,
        "A `--user-dir` that spells the path of the imported plugin in another way is refused.",
    ),
    Patch(
        "fairseq.checkpoint_utils:load_checkpoint_to_cpu",
        checkpoints.explain_refusal,
        always,
        EVERY,
        "The error about a damaged checkpoint does not name the file, and the one about a hostile "
        "checkpoint says how to load it anyway.",
    ),
    Patch(
        "fairseq.checkpoint_utils:_torch_persistent_save",
        checkpoints.save_once,
        always,
        EVERY,
        "After a failed save, on a full disk for example, fairseq appends a second try to what it "
        "has written, and may take the result for a checkpoint.",
    ),
    Patch(
        "fairseq.file_io:PathManager.copy",
        checkpoints.copy_atomically,
        always,
        EVERY,
        "`checkpoint_last.pt` is damaged if fairseq is killed while copying it.",
    ),
    Patch(
        "fairseq.trainer:Trainer.train_step",
        ranks.leave_out_empty_batches,
        always,
        EVERY,
        "With several processes, `--update-freq` above 1 and an unequal number of batches, the "
        "tokens of some processes are not counted at the end of an epoch, and that update is too "
        "large.",
    ),
    Patch(
        "fairseq.trainer:Trainer.train_step",
        progress.tell_criterion_the_update,
        always,
        EVERY,
        "The criterion does not know the number of the update, which the options "
        "`--rdrop-start-update`, `--rdrop-ramp-updates` and `--rdrop-every` need.",
    ),
    Patch(
        "fairseq.trainer:Trainer.begin_epoch",
        progress.tell_criterion_the_epoch,
        always,
        EVERY,
        "The criterion does not know the number of the epoch, which the cross-tuning of AD-DROP "
        "needs.",
    ),
    Patch(
        "fairseq.trainer:torch",
        trainer.torch_without_gpu,
        always,
        EVERY,
        "When fp16 overflows on a machine without a GPU, training stops with `Torch not compiled "
        "with CUDA enabled` where it should lower its loss scale and go on.",
    ),
    Patch(
        "fairseq.trainer:Trainer.get_train_iterator",
        batches.resume_with_first_batches,
        always,
        EVERY,
        "A training that is resumed after its first epoch goes on with other batches than it had: "
        "it trains on some sentences twice and on others never.",
    ),
    Patch(
        "fairseq.models.ema.ema:EMA.restore",
        trainer.keep_versions_in_moving_average,
        always,
        EVERY,
        "With `--store-ema` the moving average of a Transformer with `--encoder-normalize-before` "
        "or `--decoder-normalize-before` has no layer norm at its end, and translates into noise.",
    ),
    Patch(
        "fairseq.trainer:Trainer._set_seed",
        ranks.seed_ranks_apart,
        always,
        EVERY,
        "All processes draw the same random numbers, so that batches of one shape get the same "
        "dropout masks. (The first, or only, process keeps fairseq's numbers.)",
    ),
    Patch(
        "fairseq.logging.progress_bar:progress_bar",
        trainer.open_log_once,
        always,
        EVERY,
        "`--log-file` is opened again for each epoch and each validation, holds every line as "
        "often as it was opened, and training at last stops with `Too many open files`.",
    ),
    Patch(
        "fairseq.checkpoint_utils:load_checkpoint",
        trainer.stop_at_max_update,
        always,
        EVERY,
        "A training that has reached `--max-update` makes one update more each time that it is "
        "started again.",
    ),
)


def apply_patches() -> None:
    """Apply every patch that the installed versions need, and say in the log how many there are.

    Raises:
        ValueError: the environment variable is neither ``on`` nor ``off``.
    """
    switch = os.environ.get(SWITCH, "on")
    if switch not in ("on", "off"):
        raise ValueError(f"{SWITCH} must be on or off, not '{switch}'")
    if switch == "off":
        logger.info("fairseq %s is not patched, since %s=off", fairseq.__version__, SWITCH)
        return
    patches = [patch for patch in PATCHES if patch.needed()]
    for patch in patches:
        patch.apply()
    logger.info(
        "%d patches of fairseq %s are active: rdrop_fairseq/compat/patches.py lists them, "
        "%s=off turns them off",
        len(patches),
        fairseq.__version__,
        SWITCH,
    )
