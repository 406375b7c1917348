"""Batches of every sentence, and the names that NumPy 2 removed from under fairseq."""

import functools
import types

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


def numpy_with_compat(numpy):
    """NumPy 2 removed ``np.compat.long``: NumPy for one module of fairseq, with that name."""
    module = types.ModuleType("numpy")
    module.__dict__.update(vars(numpy), compat=types.SimpleNamespace(long=int))
    return module


def length_buckets(get_buckets):
    """NumPy 2 removed ``np.percentile(interpolation=)``, which is called ``method`` there."""

    @functools.wraps(get_buckets)
    def upper_bounds(sizes, num_buckets):
        shares = np.linspace(0, 100, num_buckets + 1)
        return np.unique(np.percentile(sizes, shares, method="lower")[1:])

    return upper_bounds
