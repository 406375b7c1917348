"""R-Drop in plain PyTorch: the equations as they stand in the paper, and the oracle of every test.

Needs PyTorch alone, not fairseq:

    views = torch.stack([model(batch), model(batch)])  # (2, B, T, V): two passes, dropout on
    total = rdrop_loss(views, target, alpha=5.0, label_smoothing=0.1, padding_idx=0)
    (total.loss / target.ne(0).sum()).backward()
"""

from itertools import combinations
from typing import Optional

import torch
from torch import Tensor

from rdrop_fairseq.losses.interface import RDropLoss, ViewWeights, checked_weights, is_counted
from rdrop_fairseq.options import LABEL_SMOOTHING, REG_ALPHA


def rdrop_loss(
    logits: Tensor,
    target: Tensor,
    alpha: float = REG_ALPHA.default,
    label_smoothing: float = LABEL_SMOOTHING.default,
    padding_idx: Optional[int] = None,
    reduce: bool = True,
    weights: Optional[ViewWeights] = None,
) -> RDropLoss:
    """R-Drop (Liang et al., NeurIPS 2021, arXiv 2106.14448, eq. 4) from the views' logits.

        loss = sum over tokens of  CE(z_1) + ... + CE(z_M)
             + alpha * mean over pairs (a, b) of  1/2 [KL(p_a || p_b) + KL(p_b || p_a)]

    Normalisation: the cross-entropy is summed over the views, the KL counts once per target token,
    and nothing is divided by the number of tokens. To train, divide ``loss`` by the number of
    target tokens of *one* view. With two views this is the paper's equation.

    A class with a logit of minus infinity in every view counts for nothing; where one view alone
    excludes it, the KL is infinite. Works with ``torch.func``, ``vmap`` and ``torch.compile``.

    Args:
        logits: ``(M, *, V)``, the unnormalised scores of ``M >= 2`` views. float16 and bfloat16
            are computed in float32, float32 and float64 as they are.
        target: ``(*)``, class indices, the same for every view.
        alpha: weight of the KL (the paper's default for translation is 5), a number.
        label_smoothing: mass taken from the target and spread evenly over the other ``V - 1``
            classes, as fairseq's ``label_smoothed_nll_loss`` does.
        padding_idx: targets of this class count for nothing and get no gradient.
        reduce: sum over tokens; otherwise every field has the shape of ``target``.
        weights: of each view's cross-entropy and each KL, where they are not R-Drop's.

    Returns:
        :class:`RDropLoss`, in nats.

    Raises:
        ValueError: shapes that do not fit, fewer than two views or classes, or an ``alpha`` or
            ``label_smoothing`` out of range.
    """
    weights = checked_weights(logits.shape, target, alpha, label_smoothing, weights)
    mask = is_counted(target, padding_idx)
    log_probs = log_softmax(logits.masked_fill(~mask.unsqueeze(-1), 0))
    index = target.where(mask, torch.zeros_like(target)).expand(log_probs.shape[:-1])
    nll = -log_probs.gather(-1, index.unsqueeze(-1)).squeeze(-1)
    smoothed = label_smoothed(nll, -log_probs.sum(-1), label_smoothing, logits.size(-1))
    kl = weighted_kl(log_probs, weights.kl)
    weighted = (a * view for a, view in zip(weights.cross_entropy, smoothed) if a)
    cross_entropy = sum(weighted, torch.zeros_like(kl))
    nll = sum(weight * view for weight, view in zip(weights.nll_weights(), nll) if weight)
    each = cross_entropy + (alpha * kl if alpha else 0), nll.detach(), kl.detach()
    zero = each[0].new_zeros(())
    each = [torch.where(mask, values, zero) for values in each]
    return RDropLoss(*(values.sum() if reduce else values for values in each))


def log_softmax(logits: Tensor) -> Tensor:
    """Log-probabilities over the last dimension, in float32 at least."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return torch.log_softmax(logits, dim=-1, dtype=dtype)


def label_smoothed(nll: Tensor, negative_sum: Tensor, epsilon: float, classes: int) -> Tensor:
    """Cross-entropy with ``1 - epsilon`` on the target and the rest on the other classes.

    Args:
        nll: negative log-probability of the target.
        negative_sum: negative sum of the log-probabilities of all classes, the same shape.
        epsilon: the smoothing mass; with 0 an impossible class (infinite ``negative_sum``) does
            not count.
        classes: how many classes there are.
    """
    smoothing = epsilon / (classes - 1)
    return (1 - epsilon - smoothing) * nll + smoothing * negative_sum if epsilon else nll


def weighted_kl(log_probs: Tensor, weights: tuple) -> Tensor:
    """``sum_ij weights[i][j] KL(p_i || p_j)`` of views ``(M, *, V)``: ``(*)``.

    What two directions have in common collapses to ``(p_v - q_v)(log p_v - log q_v)``. No such
    term is negative, so that R-Drop's KL cancels nothing and is never below zero.
    """
    probs = log_probs.exp()
    total = log_probs.new_zeros(log_probs.shape[1:-1])
    for i, j in combinations(range(len(log_probs)), 2):
        both = min(weights[i][j], weights[j][i])
        factor_i, factor_j = weights[i][j] - both, weights[j][i] - both
        parts = [(both, probs[i] - probs[j]), (factor_i, probs[i]), (-factor_j, probs[j])]
        total = total + sum(
            factor * times_difference(p, log_probs[i], log_probs[j])
            for factor, p in parts
            if factor
        )
    return total


def times_difference(factor: Tensor, log_p: Tensor, log_q: Tensor) -> Tensor:
    """``sum_v factor_v (log p_v - log q_v)``, where 0 times infinity is 0."""
    return (factor * (log_p - log_q).masked_fill(factor == 0, 0)).sum(-1)
