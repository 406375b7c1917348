"""Which attention positions AD-DROP drops (Yang et al., NeurIPS 2022): tensors only, no fairseq.

A row is one query of one head: its attention over ``L`` keys. The positions with the highest
attribution are candidates, each candidate is dropped by chance, and a row keeps at least one key.
"""

import math
from typing import Callable, Optional

import torch
from torch import Tensor


def attention_mask(
    attention: Tensor, target: Tensor, p: float, q: float, is_key: Optional[Tensor] = None
) -> Tensor:
    """The mask of AD-DROP with gradient attribution, for any PyTorch model.

    Set the attention logits to minus infinity where the mask is false and make a second pass, or,
    which is the same, multiply the probabilities by the mask and divide each row by its sum.

    Args:
        attention: ``(..., T, S)``, the probabilities after the softmax, of which ``target`` was
            computed with a graph. For all heads: ``(B, H, T, S)``.
        target: a scalar: for classification the sum over the batch of each sample's highest
            logit. Those of the gold labels would leak them.
        p: share of the keys of each row that are candidates, rounded up.
        q: probability with which a candidate is dropped.
        is_key: bool, false on padding; a shape that broadcasts to that of ``attention``, such as
            ``(B, 1, 1, S)``. All positions by default.

    Returns:
        ``(..., T, S)`` of bool, true where a position stays. The graph stays, and no parameter
        gets a gradient.

    Raises:
        ValueError: ``p`` or ``q`` lies outside [0, 1], ``is_key`` has another number of dimensions
            than ``attention``, or the target was not computed from it.
    """
    attributions = None
    if target.requires_grad and attention.requires_grad:
        (attributions,) = torch.autograd.grad(
            target, [attention], retain_graph=True, allow_unused=True
        )
    if attributions is None:
        raise ValueError(
            "the target was not computed from this attention, so it has no gradient: give the "
            "probabilities that the model multiplies its values by, not a copy or a mean of them, "
            "which is what torch.nn.MultiheadAttention returns"
        )
    return kept_positions(attributions, p, q, is_key)


def gradients(target: Tensor, attentions: list) -> list:
    """Gradient attribution: ``dt/dA`` for each of some attentions, zero where t does not depend.

    Nothing but the way from the target to the attentions is computed.
    """
    if not attentions:  # LayerDrop left out every layer
        return []
    found = torch.autograd.grad(target, attentions, allow_unused=True)
    return [torch.zeros_like(a) if g is None else g for a, g in zip(attentions, found)]


def integrated_gradient(
    attention: Tensor, gradient_at: Callable[[float], Tensor], steps: int
) -> Tensor:
    """Integrated gradient: ``A`` times the mean over k = 1 ... steps of ``dt/dA`` at (k/steps) A.

    Args:
        attention: ``A``, of any shape.
        gradient_at: from a scale in (0, 1] to ``dt/dA`` at ``scale * A``.
        steps: of the sum, which replaces the integral from 0 to ``A``.
    """
    total = sum(gradient_at(step / steps) for step in range(1, steps + 1))
    return attention.detach() * total / steps


def kept_positions(
    attributions: Tensor, p: float, q: float, is_key: Optional[Tensor] = None
) -> Tensor:
    """Drop each candidate with probability q; true where a position stays, and on padding.

    A row that would lose all its keys keeps the one with the lowest attribution.

    Args and errors are those of :func:`attention_mask`, with attributions ``(..., T, S)``.
    """
    for name, value in (("p", p), ("q", q)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], not {value}")
    attributions, is_key = _comparable(attributions, is_key)
    chance = torch.rand(attributions.shape, device=attributions.device)
    dropped = candidates(attributions, p, is_key) & (chance < q)
    loses_all = (dropped == is_key).all(-1, keepdim=True)
    lowest = attributions.masked_fill(~is_key, math.inf).argmin(-1, keepdim=True)
    return ~dropped | (loses_all & torch.zeros_like(dropped).scatter(-1, lowest, True))


def candidates(attributions: Tensor, p: float, is_key: Optional[Tensor] = None) -> Tensor:
    """True at the ``ceil(p L)`` keys of each row with the highest attribution, and at ties.

    Args are those of :func:`attention_mask`, with attributions ``(..., T, S)``.
    """
    attributions, is_key = _comparable(attributions, is_key)
    keys = is_key.sum(-1, keepdim=True)
    # 0.7 * 10 is a little more than 7 in binary numbers
    count = (p * keys.double() - 1e-9).ceil().long()
    ranked = attributions.masked_fill(~is_key, -math.inf).sort(-1, descending=True).values
    lowest = ranked.gather(-1, (count - 1).clamp(min=0))
    return (attributions >= lowest) & is_key & (count > 0)


def _comparable(attributions, is_key):
    """Attributions without infinities, which an overflow in half precision gives, and the keys."""
    if is_key is None:
        is_key = torch.ones((), dtype=torch.bool, device=attributions.device)
    elif is_key.dim() != attributions.dim():  # (B, 1, S) would serve as (1, B, 1, S)
        raise ValueError(
            f"is_key has the shape {tuple(is_key.shape)} and the attention "
            f"{tuple(attributions.shape)}: give it as many dimensions, such as (B, 1, 1, S)"
        )
    return attributions.detach().nan_to_num(), is_key.expand(attributions.shape)
