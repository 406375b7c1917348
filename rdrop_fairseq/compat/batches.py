"""Batches: the last one, and those of a training that is resumed."""

import functools
import os

import numpy as np


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


def resume_with_first_batches(get_train_iterator):
    """A training that is resumed after epoch 1 gets other batches than an uninterrupted one.

    Every fairseq loads the data and builds the batches in the first epoch of a process, and then
    keeps them with all that this epoch decided: the seed, whether to shuffle (``--curriculum``),
    ``--fix-batches-to-gpus`` and the random numbers of its data workers. For a resumed process that
    is another epoch, so that it trains on some sentences again and on others never. Here it, too,
    begins with epoch 1. Batches that fairseq builds in every epoch are the same in both. (A process
    that is resumed within an epoch, the first one too, forgets ``--fix-batches-to-gpus``.)
    """

    @functools.wraps(get_train_iterator)
    def get_iterator_of_uninterrupted(trainer, epoch, *args, load_dataset=True, **kwargs):
        if not load_dataset or builds_every_epoch(trainer):
            return get_train_iterator(trainer, epoch, *args, load_dataset=load_dataset, **kwargs)
        first = iterator = get_train_iterator(trainer, 1, *args, load_dataset=True, **kwargs)
        if epoch > 1:
            iterator = get_train_iterator(trainer, epoch, *args, load_dataset=False, **kwargs)
        if iterator is first:
            iterator.epoch = epoch
            if getattr(iterator, "reuse_dataloader", False):
                keep_first_order(iterator, trainer.cfg)
                if epoch > 1:
                    keep_first_data(iterator)
        return iterator

    return get_iterator_of_uninterrupted


def builds_every_epoch(trainer) -> bool:
    """Whether every epoch has a shard of its own (``data-bin1:data-bin2``) or rebuilds its batches.

    ``translation_multi_simple_epoch`` knows of its shards only once it has loaded one, hence the
    look at the path.
    """
    return (
        os.pathsep in getattr(trainer.cfg.task, "data", "")
        or trainer.task.has_sharded_data("train")
        or getattr(trainer.task.cfg, "rebuild_batches", False)
    )


def keep_first_order(iterator, cfg) -> None:
    """Order the batches of every epoch as ``fairseq-train`` orders those of the first."""
    ordered_batches = iterator.ordered_batches
    fix_batches_to_gpus = cfg.distributed_training.fix_batches_to_gpus
    shuffle = cfg.dataset.curriculum < 1
    iterator.ordered_batches = lambda epoch, *_: ordered_batches(
        epoch, fix_batches_to_gpus, shuffle
    )


def keep_first_data(iterator) -> None:
    """Keep data in the first epoch where workers stay alive and never learn of a later one."""
    if getattr(iterator, "persistent_workers", iterator.num_workers > 0):
        iterator.dataset.set_epoch = ignore_epoch


def ignore_epoch(epoch: int) -> None:
    """The ``set_epoch`` of data that stay in the epoch they are in."""
