"""A second view from a pass of its own, where one pass for both cannot make them differ."""

from typing import Callable, Optional

import torch
from torch import Tensor

from rdrop_fairseq.noise import drops_layers, has_noise_per_pass
from rdrop_fairseq.transfer import to_device
from rdrop_fairseq.views.cutoff import cut_tokens
from rdrop_fairseq.views.repeat import Group, RepeatedViews, repeat_sample
from rdrop_fairseq.wrappers import is_sharded, seeks_unused_parameters


class TwoPasses(RepeatedViews):
    """Two views from two passes. A subclass says how the second pass differs."""

    option: str
    """Of the command line, which asks for these views."""
    are_alike = False

    def __init__(self, cutoff: float):
        super().__init__(2, cutoff)

    def in_second_pass(self, model: torch.nn.Module, sample: dict):
        """A context in which the model makes its second pass, over this sample."""
        raise NotImplementedError

    def can_differ(self, model: torch.nn.Module) -> bool:
        """As that of the parent class, or because each pass drops other layers or weights."""
        return super().can_differ(model) or has_noise_per_pass(model)

    def check(self, model: torch.nn.Module, share: float) -> None:
        """Refuse, too, models whose second pass would fail or be that of the first.

        Raises:
            NotImplementedError: with what to do.
        """
        super().check(model, share)
        if any(hasattr(module, "precheckpoint_forward") for module in model.modules()):
            raise NotImplementedError(
                f"{self.option} does not go with --checkpoint-activations, which computes "
                "both passes again as if they were the first: train without one of them"
            )
        if drops_layers(model) and seeks_unused_parameters(model):
            raise NotImplementedError(
                f"{self.option} does not go with LayerDrop and --find-unused-parameters, since "
                "each pass leaves out other layers: train with --ddp-backend legacy_ddp"
            )
        if share < 1 and is_sharded(model):
            raise NotImplementedError(
                f"{self.option} does not go with --rdrop-share and --ddp-backend fully_sharded, "
                "where all ranks must make the same passes: train without one of them"
            )
        if share < 1 and any(isinstance(module, torch.nn.RNNBase) for module in model.modules()):
            raise NotImplementedError(
                f"{self.option} does not go with --rdrop-share for this model, since "
                "fairseq's LSTM needs the longest sentence in each pass: train without one of them"
            )

    def groups(self, model, run: Callable, sample: dict, chosen: Optional[Tensor]) -> list:
        """As those of the parent class."""
        first = run(sample)
        if chosen is None:
            second = self.run_second_pass(model, run, sample)
            return [Group(slice(None), torch.stack([first, second]))]
        many, one = (
            to_device(mask.nonzero().squeeze(1), first.device) for mask in (chosen, ~chosen)
        )
        groups = [Group(one, first[one].unsqueeze(0))] if len(one) else []
        if len(many):
            second = self.run_second_pass(model, run, repeat_sample(sample, chosen.long()))
            groups.append(Group(many, torch.stack([first[many], second])))
        return groups

    def run_second_pass(self, model, run: Callable, sample: dict) -> Tensor:
        """What the second pass over a sample gives."""
        every = torch.ones(len(sample["target"]), dtype=torch.bool)
        with self.in_second_pass(model, sample), cut_tokens(model, self.cutoff, every):
            return run(sample)
