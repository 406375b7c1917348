"""Training: several processes, fp16 without a GPU, the last update, and the log file."""

import functools
import logging
import os
from unittest import mock

import torch
from fairseq import utils


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


def tell_criterion_the_update(train_step):
    """fairseq tells the number of the update to the model only, never to the criterion.

    Every task passes here, also one with a ``train_step`` of its own. All batches of one update
    have the same number, and a resumed training goes on with it.
    """

    @functools.wraps(train_step)
    def train_step_with_number(trainer, samples, *args, **kwargs):
        criterion = trainer.get_criterion()
        if hasattr(criterion, "set_num_updates"):
            criterion.set_num_updates(trainer.get_num_updates())
        return train_step(trainer, samples, *args, **kwargs)

    return train_step_with_number


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


def stop_at_max_update(train):
    """fairseq makes one update more each time a training at its ``--max-update`` is continued."""

    @functools.wraps(train)
    def train_unless_done(cfg, trainer, task, epoch_itr):
        if 0 < cfg.optimization.max_update <= trainer.get_num_updates():
            return [None], True
        return train(cfg, trainer, task, epoch_itr)

    return train_unless_done


def open_log_once(progress_bar):
    """Every fairseq opens ``--log-file`` again for each epoch and each validation.

    It writes a line as often as it has opened the file, and one file stays open for each time: a
    long training ends with ``Too many open files``.
    """

    @functools.wraps(progress_bar)
    def progress_bar_with_one_log(*args, log_file=None, **kwargs):
        handlers = logging.getLogger(progress_bar.__module__).handlers
        opened = {getattr(handler, "baseFilename", None) for handler in handlers}
        if log_file is not None and os.path.abspath(log_file) in opened:
            log_file = None
        return progress_bar(*args, log_file=log_file, **kwargs)

    return progress_bar_with_one_log
