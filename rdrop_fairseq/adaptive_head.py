"""The head of a model with an adaptive softmax: each cluster of words has its own logits."""

from functools import partial
from typing import Optional

import torch
from torch import Tensor

from rdrop_fairseq.heads import KERNELS, Head, check_kernel, is_fused
from rdrop_fairseq.losses.adaptive import adaptive_rdrop_loss
from rdrop_fairseq.losses.fused import linear_rdrop_loss
from rdrop_fairseq.losses.interface import RDropLoss
from rdrop_fairseq.losses.reference import rdrop_loss
from rdrop_fairseq.model_output import has_hooks
from rdrop_fairseq.wrappers import with_visible_weights


class AdaptiveHead(Head):
    """The model gives features, and the loss makes the logits of each cluster for its tokens."""

    def __init__(
        self,
        model: torch.nn.Module,
        implementation: str,
        kernel: str,
        **chunks: Optional[int],
    ):
        """As :func:`~rdrop_fairseq.heads.choose_head`.

        Raises:
            NotImplementedError: the model has no adaptive softmax, or one that cannot be used so.
        """
        self.softmax = adaptive_softmax(model)
        device = next(model.parameters()).device
        if is_fused(implementation, device):
            check_kernel(kernel, device)
            self.of_cluster = partial(linear_rdrop_loss, kernel=kernel, **chunks)
            self.name = f"fused, from the features of each cluster, {KERNELS[kernel]}"
        else:
            self.of_cluster, self.name = reference_loss, "reference, from each cluster"

    def fits(self, model: torch.nn.Module) -> bool:
        """Whether this is still the head of the model.

        Hooks that come later do not matter: those with which fairseq looks for a NaN, for example.
        """
        return found_softmax(with_visible_weights(model)) is self.softmax

    def output(self, model: torch.nn.Module, net_output: tuple) -> Tensor:
        """``(rows, T, H_0 + H_1 + ...)``, what the head and each tail are given, side by side.

        All dropout is drawn here, before the rows are split by view. A tail's features are
        few, and made for every token.
        """
        features = self.softmax.dropout_module(net_output[0])
        tails = [dropout(first(features)) for first, dropout, _ in self.softmax.tail]
        return torch.cat([features, *tails], -1)

    def loss(self, features: Tensor, *arguments) -> RDropLoss:
        """``adaptive_rdrop_loss`` of what :meth:`output` gives, by view, and its arguments."""
        projections = [
            head_weight(self.softmax.head),
            *(tail[2].weight for tail in self.softmax.tail),
        ]
        return adaptive_rdrop_loss(features, projections, *arguments, loss=self.of_cluster)


def reference_loss(features: Tensor, weight: Tensor, bias: None, *arguments) -> RDropLoss:
    """``linear_rdrop_loss`` in plain PyTorch."""
    return rdrop_loss(torch.nn.functional.linear(features, weight), *arguments)


def head_weight(head: torch.nn.Module) -> Tensor:
    """``(C_0 + K, H)``: the weight of the head, or what its parts would be as one.

    Where the adaptive input that it is tied to has narrower words, two projections become one: with
    ``C_0`` words that is less work than the logits of ``C_0`` tokens.
    """
    if isinstance(head, torch.nn.Linear):
        return head.weight
    words = head.word_proj
    if isinstance(words, torch.nn.Sequential):
        narrow, words = words
        return torch.cat([words.weight @ narrow.weight, head.class_proj.weight])
    return torch.cat([words.weight, head.class_proj.weight])


def found_softmax(model: Optional[torch.nn.Module]) -> Optional[torch.nn.Module]:
    """The adaptive softmax of a model without a wrapper, if there are both."""
    return getattr(getattr(model, "decoder", None), "adaptive_softmax", None)


def adaptive_softmax(model: torch.nn.Module) -> torch.nn.Module:
    """The adaptive softmax of a model, as it is or in fairseq's wrapper for distributed training.

    Raises:
        NotImplementedError: with what to do.
    """
    inner = with_visible_weights(model)
    if inner is None:
        raise NotImplementedError(
            "rdrop_adaptive_loss needs the weights of the adaptive softmax, which this wrapper for "
            "distributed training hides: train with --ddp-backend=legacy_ddp"
        )
    softmax = found_softmax(inner)
    if softmax is None:
        raise NotImplementedError(
            "rdrop_adaptive_loss is for models with an adaptive softmax, and this one has none: "
            "train with --adaptive-softmax-cutoff, or with rdrop_label_smoothed_cross_entropy"
        )
    if any(has_hooks(module) for module in softmax.modules()):
        raise NotImplementedError(
            "rdrop_adaptive_loss uses the weights of the adaptive softmax itself, so a hook on its "
            "layers, quantisation noise for example, would be missed: train without that hook"
        )
    return softmax
