"""A second pass with another dropout rate than the first (Liang et al. 2021, section 4)."""

import contextlib
from typing import Callable, Optional

import torch
from torch import Tensor

from rdrop_fairseq.noise import dropouts
from rdrop_fairseq.views.cutoff import cut_tokens
from rdrop_fairseq.views.repeat import Group, RepeatedViews, repeat_sample


class TwoRates(RepeatedViews):
    """Two views from two passes, since one dropout module serves all rows of a pass."""

    def __init__(self, second_rate: float, cutoff: float = 0.0):
        super().__init__(2, cutoff)
        self.second_rate = second_rate

    def check(self, model: torch.nn.Module, share: float) -> None:
        """Refuse, too, models whose second pass would fail or have the wrong rate.

        Raises:
            NotImplementedError: with what to do.
        """
        super().check(model, share)
        if any(hasattr(module, "precheckpoint_forward") for module in model.modules()):
            raise NotImplementedError(
                "--rdrop-second-dropout does not go with --checkpoint-activations, which computes "
                "both passes again with the dropout rate of the first: train without one of them"
            )
        if share < 1 and any(isinstance(module, torch.nn.RNNBase) for module in model.modules()):
            raise NotImplementedError(
                "--rdrop-second-dropout does not go with --rdrop-share for this model, since "
                "fairseq's LSTM needs the longest sentence in each pass: train without one of them"
            )

    def groups(self, model, run: Callable, sample: dict, chosen: Optional[Tensor]) -> list:
        """As those of the parent class."""
        first = run(sample)
        if chosen is None:
            chosen = torch.ones(len(first), dtype=torch.bool)
        many, one = chosen.nonzero().squeeze(1), (~chosen).nonzero().squeeze(1)
        groups = [Group(one, first[one.to(first.device)].unsqueeze(0))] if len(one) else []
        if len(many):
            again = repeat_sample(sample, chosen.long())
            cut = cut_tokens(model, self.cutoff, torch.ones(len(many), dtype=torch.bool))
            with dropout_rate(model, self.second_rate), cut:
                second = run(again)
            groups.append(Group(many, torch.stack([first[many.to(first.device)], second])))
        return groups


@contextlib.contextmanager
def dropout_rate(model: torch.nn.Module, rate: float):
    """Give every dropout of the model whose rate is not 0 another rate, for a while."""
    with contextlib.ExitStack() as restore:
        for module, name in dropouts(model):
            restore.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, rate)
        yield


def choose_views(cfg) -> RepeatedViews:
    """The views that the options of R-Drop ask for.

    Raises:
        ValueError: a second dropout rate with more than two passes.
    """
    if cfg.rdrop_second_dropout is None:
        return RepeatedViews(cfg.rdrop_views, cfg.view_cutoff)
    if cfg.rdrop_views != 2:
        raise ValueError(
            f"--rdrop-second-dropout is for two passes, not for --rdrop-views {cfg.rdrop_views}"
        )
    return TwoRates(cfg.rdrop_second_dropout, cfg.view_cutoff)
