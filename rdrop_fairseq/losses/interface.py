"""What every R-Drop loss takes and returns: the checks, the mask of the padding, the reduction."""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from rdrop_fairseq.options import LABEL_SMOOTHING, REG_ALPHA


class RDropLoss(NamedTuple):
    """Sums over the target tokens (or one value per token), in nats."""

    loss: Tensor
    """Label-smoothed cross-entropy summed over the views, plus ``alpha`` times ``kl_loss``."""
    nll_loss: Tensor
    """Negative log-likelihood of the targets, the mean of the views; carries no gradient."""
    kl_loss: Tensor
    """Symmetric KL between the views, not yet times ``alpha``; carries no gradient."""


def check_arguments(
    shape: torch.Size, target: Tensor, alpha: float, label_smoothing: float
) -> None:
    """Raise ``ValueError`` with one sentence if no loss can be computed from logits of ``shape``.

    Args:
        shape: ``(M, *, V)``.
        target: ``(*)``.
    """
    if len(shape) < 2 or shape[1:-1] != target.shape:
        raise ValueError(
            f"logits of shape {tuple(shape)} do not fit a target of shape {tuple(target.shape)}: "
            "give logits (views, *target shape, classes)"
        )
    if shape[0] < 2:
        raise ValueError("R-Drop compares views: give the logits of at least two passes")
    if shape[-1] < 2:
        raise ValueError("logits need at least two classes in their last dimension")
    REG_ALPHA.check(alpha)
    LABEL_SMOOTHING.check(label_smoothing)


def padding_mask(target: Tensor, padding_idx: Optional[int]) -> Tensor:
    """True where a target counts, False on padding: ``(*)`` of bool."""
    if padding_idx is None:
        return torch.ones_like(target, dtype=torch.bool)
    return target.ne(padding_idx)


def reduced(per_token: tuple, mask: Tensor, reduce: bool) -> RDropLoss:
    """Sums of three ``(N,)``; or three tensors shaped like the mask, with zeros on padding."""
    if reduce:
        return RDropLoss(*(values.sum() for values in per_token))
    zeros = per_token[0].new_zeros(mask.shape)
    return RDropLoss(*(zeros.masked_scatter(mask, values) for values in per_token))
