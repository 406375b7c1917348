"""What every R-Drop loss takes and returns: the weights of the views, the checks, the mask."""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from rdrop_fairseq.options import LABEL_SMOOTHING, REG_ALPHA


class ViewWeights(NamedTuple):
    """How much each part of the loss of M views counts.

    loss = sum_i ``cross_entropy[i]`` CE(z_i) + alpha * sum_ij ``kl[i][j]`` KL(p_i || p_j)
    """

    cross_entropy: tuple
    """M numbers."""
    kl: tuple
    """M tuples of M numbers, zero on the diagonal."""

    def nll_weights(self) -> tuple:
        """The weight of each view in the negative log-likelihood that is reported."""
        total = sum(self.cross_entropy)
        if not total:
            return (1 / len(self.cross_entropy),) * len(self.cross_entropy)
        return tuple(weight / total for weight in self.cross_entropy)

    def of_one_view(self) -> "ViewWeights":
        """Of one view that counts for all M, which are alike: for R-Drop ``a = (M,)``; no KL."""
        return ViewWeights((sum(self.cross_entropy),), ((0.0,),))

    def of_first_view(self) -> "ViewWeights":
        """Of the first view alone: for R-Drop ``a = (1,)``; no KL."""
        return ViewWeights(self.cross_entropy[:1], ((0.0,),))

    def of_share(self, share: float) -> "ViewWeights":
        """Of all views, the later ones ``1 / share`` times: R-Drop's ``(1, 1 / share, ...)``."""
        first, *later = self.cross_entropy
        return self._replace(cross_entropy=(first, *(weight / share for weight in later)))

    def label_free(self) -> "ViewWeights":
        """The weights of a sample without a label: the KL alone."""
        return self._replace(cross_entropy=(0.0,) * len(self.cross_entropy))


def rdrop_weights(num_views: int) -> ViewWeights:
    """R-Drop: every cross-entropy once, and the mean over all ordered pairs of the KL."""
    pair_weight = 1 / (num_views * (num_views - 1))
    numbers = range(num_views)
    kl = tuple(tuple(pair_weight if i != j else 0.0 for j in numbers) for i in numbers)
    return ViewWeights((1.0,) * num_views, kl)


SIMCUT_WEIGHTS = ViewWeights((1.0, 0.0), ((0.0, 1.0), (0.0, 0.0)))
"""Gao et al., NAACL 2022: CE(z_1) + alpha KL(p_1 || p_2), with a gradient through both."""


class RDropLoss(NamedTuple):
    """Sums over the target tokens (or one value per token), in nats."""

    loss: Tensor
    """The weighted cross-entropies plus ``alpha`` times ``kl_loss``."""
    nll_loss: Tensor
    """Negative log-likelihood of the targets, the mean of the views that have a cross-entropy
    (weighted as that); carries no gradient."""
    kl_loss: Tensor
    """The weighted KLs, for R-Drop the symmetric KL; not yet times ``alpha``, no gradient."""


def checked_weights(
    shape: torch.Size,
    target: Tensor,
    alpha: float,
    label_smoothing: float,
    weights: Optional[ViewWeights],
) -> ViewWeights:
    """Check what a loss of logits is given, and return its weights, those of R-Drop by default.

    Args:
        shape: ``(M, *, V)``, of the logits.
        target: ``(*)``.

    Raises:
        ValueError: with one sentence, if no loss can be computed from these.
    """
    if len(shape) < 2 or shape[1:-1] != target.shape:
        raise ValueError(
            f"logits of shape {tuple(shape)} do not fit a target of shape {tuple(target.shape)}: "
            "give logits (views, *target shape, classes)"
        )
    if shape[-1] < 2:
        raise ValueError("logits need at least two classes in their last dimension")
    LABEL_SMOOTHING.check(label_smoothing)
    return chosen_weights(shape[0], alpha, weights)


def chosen_weights(num_views: int, alpha: float, weights: Optional[ViewWeights]) -> ViewWeights:
    """Check alpha and the weights of the views, and return these, those of R-Drop by default.

    Raises:
        ValueError: with one sentence, if they do not fit or alpha is out of range.
    """
    if weights is None and num_views < 2:
        raise ValueError("R-Drop compares views: give the logits of at least two passes")
    if weights is not None and len(weights.cross_entropy) != num_views:
        raise ValueError(
            f"the weights are for {len(weights.cross_entropy)} views and the logits have "
            f"{num_views}"
        )
    if isinstance(alpha, Tensor) and alpha.requires_grad:
        raise ValueError(
            "alpha (--reg-alpha) gets no gradient from the loss: give a number, or alpha.detach()"
        )
    REG_ALPHA.check(alpha)
    return weights or rdrop_weights(num_views)


def is_counted(target: Tensor, padding_idx: Optional[int]) -> Tensor:
    """True where a target counts, False on padding: ``(*)`` of bool."""
    if padding_idx is None:
        return torch.ones_like(target, dtype=torch.bool)
    return target.ne(padding_idx)
