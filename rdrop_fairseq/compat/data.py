"""Batches of every sentence, and the names that NumPy 2 took from fairseq's data sets."""

import functools
import types

import numpy as np
from fairseq.data import (
    bucket_pad_length_dataset,
    data_utils,
    language_pair_dataset,
    token_block_dataset,
)


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
