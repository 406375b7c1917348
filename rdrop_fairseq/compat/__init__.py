"""What fairseq, now archived, needs on today's Python, PyTorch and NumPy.

Importing the plugin calls :func:`mend_fairseq`. Every mend names the versions that need it and
leaves all others alone.
"""

import re
import sys

import fairseq
import numpy as np
import torch
from fairseq import checkpoint_utils, utils
from fairseq.data import data_utils
from fairseq.file_io import PathManager
from fairseq.logging import progress_bar
from fairseq.trainer import Trainer

from rdrop_fairseq.compat.batches import resume_with_first_batches
from rdrop_fairseq.compat.checkpoints import checkpoint_types, copy_whole, explain_refusal
from rdrop_fairseq.compat.data import keep_last_batch, restore_numpy_names
from rdrop_fairseq.compat.encoder import disable_encoder_fast_path
from rdrop_fairseq.compat.training import (
    leave_out_empty_batches,
    open_log_once,
    overflow_without_gpu,
    seed_ranks_apart,
    stop_at_max_update,
)
from rdrop_fairseq.compat.user_dir import accept_imported_plugin

FAIRSEQ = tuple(int(number) for number in re.findall(r"\d+", fairseq.__version__)[:3])
NUMPY_2 = int(np.__version__.split(".")[0]) >= 2
CHECKS_TYPES = torch.__version__ >= (2, 6)  # when it loads a checkpoint: weights_only=True


def mend_fairseq() -> None:
    """Apply every mend that the installed versions need."""
    if FAIRSEQ > (0, 12, 2):
        data_utils.batch_by_size = keep_last_batch(data_utils.batch_by_size)
    elif FAIRSEQ == (0, 12, 2) and torch.__version__ >= (2, 0):
        disable_encoder_fast_path()
    if NUMPY_2:
        restore_numpy_names()
    utils.import_user_module = accept_imported_plugin(utils.import_user_module)
    mend_checkpoints()
    mend_training()


def mend_checkpoints() -> None:
    if CHECKS_TYPES:
        torch.serialization.add_safe_globals(checkpoint_types())
    checkpoint_utils.load_checkpoint_to_cpu = explain_refusal(
        checkpoint_utils.load_checkpoint_to_cpu
    )
    checkpoint_utils._torch_persistent_save = torch.save  # tries again behind what a failure left
    PathManager.copy = staticmethod(copy_whole(PathManager.copy))


def mend_training() -> None:
    Trainer.train_step = overflow_without_gpu(leave_out_empty_batches(Trainer.train_step))
    Trainer._set_seed = seed_ranks_apart(Trainer._set_seed)
    Trainer.get_train_iterator = resume_with_first_batches(Trainer.get_train_iterator)
    progress_bar.progress_bar = open_log_once(progress_bar.progress_bar)
    if "fairseq_cli.train" in sys.modules:
        train = sys.modules["fairseq_cli.train"]
        train.train = stop_at_max_update(train.train)
