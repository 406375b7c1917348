"""A second pass with another dropout rate than the first (Liang et al. 2021, section 4)."""

import contextlib

import torch

from rdrop_fairseq.noise import dropouts
from rdrop_fairseq.views.passes import TwoPasses


class TwoRates(TwoPasses):
    """Two passes, since one dropout module serves all rows of a pass."""

    option = "--rdrop-second-dropout"

    def __init__(self, second_rate: float, cutoff: float):
        super().__init__(cutoff)
        self.second_rate = second_rate

    def in_second_pass(self, model, sample):
        """Every dropout has the second rate."""
        return dropout_rate(model, self.second_rate)


@contextlib.contextmanager
def dropout_rate(model: torch.nn.Module, rate: float):
    """Give every dropout of the model whose rate is not 0 another rate, for a while."""
    with contextlib.ExitStack() as restore:
        for module, name in dropouts(model):
            restore.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, rate)
        yield
