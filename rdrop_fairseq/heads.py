"""Heads: what a fairseq model is asked for, logits or features, and the loss that follows from it.

A head is chosen once for a model. It knows what the model must be asked for, which loss takes the
answer, and whether the model is still as it was. fairseq is imported where it is needed, since
importing it registers the criteria, which need this.
"""

import importlib.util
import os
from functools import partial
from typing import Callable, Optional

import torch
from torch import Tensor

from rdrop_fairseq.losses.fused import fused_rdrop_loss, linear_rdrop_loss
from rdrop_fairseq.losses.interface import RDropLoss
from rdrop_fairseq.losses.reference import rdrop_loss
from rdrop_fairseq.model_output import has_own_probabilities, linear_projection

KERNELS = {"torch": "elementwise part in PyTorch", "triton": "elementwise part in Triton"}


class Head:
    """What a model must be asked for, and which loss takes the answer."""

    name: str
    """For the log."""
    loss: Callable
    """Takes what :meth:`output` gives, by view; the rest is up to the criterion that chose it."""
    model_arguments: dict = {}
    """What ``model(...)`` is given in addition to the sample's ``net_input``."""

    def fits(self, model: torch.nn.Module) -> bool:
        """Whether this is still the head of the model."""
        raise NotImplementedError

    def output(self, model: torch.nn.Module, net_output: tuple) -> Tensor:
        """``(B * M, T, V or H)``, the logits or features of every view."""
        return net_output[0]


class LogitsHead(Head):
    """The model makes its logits itself."""

    def __init__(self, loss: Callable, name: str):
        self.loss, self.name = loss, name

    def fits(self, model: torch.nn.Module) -> bool:
        """Whether fairseq still turns the model's logits into probabilities."""
        return not has_own_probabilities(model)


class ProbabilitiesHead(LogitsHead):
    """Code from outside fairseq makes the probabilities: their logarithms serve as logits."""

    def fits(self, model: torch.nn.Module) -> bool:
        """Whether code from outside fairseq still makes the probabilities."""
        return has_own_probabilities(model)

    def output(self, model: torch.nn.Module, net_output: tuple) -> Tensor:
        """``(B * M, T, V)``: log-probabilities, which softmax turns into the same probabilities."""
        return model.get_normalized_probs(net_output, log_probs=True)


class SentenceHead(Head):
    """A classification head of the model makes one row of logits, or numbers, a sentence.

    It has no ``loss``: which one takes them depends on the labels, which the criterion knows.
    """

    def __init__(self, classification_head: str):
        self.name = f"reference, of the classification head {classification_head}"
        self.model_arguments = {
            "features_only": True,
            "classification_head_name": classification_head,
        }

    def fits(self, model: torch.nn.Module) -> bool:
        """Always: probabilities of the model's own are for tokens."""
        return True


class LinearHead(Head):
    """One linear layer makes the logits: the loss is given features and makes them in chunks."""

    model_arguments = {"features_only": True}

    def __init__(self, projection: torch.nn.Linear, kernel: str, **chunks: Optional[int]):
        self.projection = projection
        self.name = f"fused, from the decoder's features, {KERNELS[kernel]}"
        self.options = {"kernel": kernel, **chunks}

    def fits(self, model: torch.nn.Module) -> bool:
        """Whether the projection may still be used alone: no hook was added, for example."""
        return linear_projection(model) is self.projection

    def loss(self, features: Tensor, *arguments) -> RDropLoss:
        """``linear_rdrop_loss`` of features by view and the other arguments of ``rdrop_loss``."""
        weight, bias = self.projection.weight, self.projection.bias
        return linear_rdrop_loss(features, weight, bias, *arguments, **self.options)


def choose_head(
    model: torch.nn.Module,
    implementation: str,
    needs_logits: bool,
    kernel: str,
    **chunks: Optional[int],
) -> Head:
    """The head that trains ``model`` fastest.

    Args:
        model: a fairseq model, as it is or in fairseq's wrapper for distributed training.
        implementation: of the loss, a value of ``--rdrop-loss``.
        needs_logits: whether the criterion itself reads the logits, to count correct tokens.
        kernel: of the elementwise part, a value of ``--rdrop-kernel``.
        chunks: ``chunk_size`` and ``chunk_memory`` of the loss from features.

    Raises:
        ValueError: Triton is asked for where it is missing or cannot run.
        NotImplementedError: the model has an adaptive softmax.
    """
    refuse_adaptive_softmax(model)
    device = next(model.parameters()).device
    fused = is_fused(implementation, device)
    if fused:
        check_kernel(kernel, device)
    projection = linear_projection(model)
    if fused and projection is not None and not needs_logits:
        return LinearHead(projection, kernel, **chunks)
    kind = ProbabilitiesHead if has_own_probabilities(model) else LogitsHead
    if fused:
        loss = partial(fused_rdrop_loss, kernel=kernel)
        return kind(loss, f"fused, from the model's logits, {KERNELS[kernel]}")
    return kind(rdrop_loss, "reference")


def is_fused(implementation: str, device: torch.device) -> bool:
    """Whether a value of ``--rdrop-loss`` means the fused loss on a device."""
    return implementation == "fused" or (
        implementation == "auto" and device.type in ("cpu", "cuda")
    )


def refuse_adaptive_softmax(model: torch.nn.Module) -> None:
    """Raise ``NotImplementedError`` if the model never makes logits of the whole vocabulary."""
    from fairseq.modules import AdaptiveSoftmax

    if any(isinstance(module, AdaptiveSoftmax) for module in model.modules()):
        raise NotImplementedError(
            "this criterion needs logits over the whole vocabulary, which an adaptive softmax does "
            "not give: train with --criterion rdrop_adaptive_loss, or without "
            "--adaptive-softmax-cutoff"
        )


def check_kernel(kernel: str, device: torch.device) -> None:
    """Raise ``ValueError`` if the elementwise part cannot run in Triton though it shall."""
    if kernel != "triton":
        return
    if importlib.util.find_spec("triton") is None:
        raise ValueError(
            "--rdrop-kernel triton needs Triton, which is not installed: pip install "
            "'rdrop_fairseq[triton]', or train without it"
        )
    if device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError(
            f"--rdrop-kernel triton needs CUDA, and the model is on {device.type}: train without it"
        )
