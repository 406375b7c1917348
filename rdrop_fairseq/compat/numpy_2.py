"""The names that NumPy 2 removed from under fairseq."""

import functools
import types

import numpy as np


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
