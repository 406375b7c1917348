"""The closed-form gradient of the weighted loss on one block of logits, and its derivation."""

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from rdrop_fairseq.losses.interface import RDropLoss, ViewWeights
from rdrop_fairseq.losses.reference import label_smoothed


class Coefficients(NamedTuple):
    """Everything that weighs the parts of the loss, as tensors next to the logits."""

    alpha: float
    label_smoothing: float
    cross_entropy: Tensor  # (M, 1), a_i
    nll: Tensor  # (M, 1), the shares of the views in the reported one
    kl: Tensor  # (M, M), b_ij


def coefficients_like(
    logits: Tensor, alpha: float, label_smoothing: float, weights: ViewWeights
) -> Coefficients:
    """The coefficients with the dtype and on the device of ``logits``."""
    return Coefficients(alpha, label_smoothing, *_tensors(weights, logits.dtype, logits.device))


@functools.lru_cache(maxsize=16)  # their way to a GPU is waited for, so they go there once
def _tensors(weights: ViewWeights, dtype: torch.dtype, device: torch.device) -> tuple:
    numbers = weights.cross_entropy, weights.nll_weights(), weights.kl
    cross_entropy, nll, kl = (torch.tensor(x, dtype=dtype, device=device) for x in numbers)
    return cross_entropy.unsqueeze(1), nll.unsqueeze(1), kl


# One token has M views with logits z_i; p_i = softmax(z_i), l_i = log p_i, t is the smoothed
# distribution of the target, a_i and b_ij are the weights (b_ii = 0):
#
#     loss = sum_i a_i <-t, l_i> + alpha KL
#     KL   = sum_ij b_ij <p_i, l_i - l_j> = sum_i <p_i, e_i>
#     e_i  = sum_j b_ij (l_i - l_j) = sum_j K_ij l_j,     K_ii = sum_j b_ij,  K_ij = -b_ij
#
# With dp_i/dz_i = diag(p_i) - p_i p_i^T and dl_i/dz_i = I - 1 p_i^T:
#
#     dKL/dz_i from p_i, and from l_i in e_i:   p_i (e_i - <p_i, e_i>)  +  0
#              from l_i in e_j:                 sum_j b_ji (p_i - p_j)
#
# (the 0: sum_j b_ij (p_i - p_i)). So with c_i = sum_j b_ji
#
#     dloss/dz_i = p_i (a_i + alpha (c_i - <p_i, e_i>)) + alpha (p_i e_i - sum_j b_ji p_j) - a_i t
#
# For R-Drop with two views, a = (1, 1), b_12 = b_21 = 1/2 and d = log p - log q, this is
# p - t + alpha/2 [p (d - <p, d>) + p - q].
#
# A class that a view excludes (l = -inf, p = 0) has p e = 0 * inf, which counts as 0; where another
# view does not exclude it, that view's p e is infinite.
def loss_and_gradient_(logits: Tensor, target: Tensor, coefficients: Coefficients) -> RDropLoss:
    """Turn logits into the gradient of the loss with respect to them, and return the loss.

    Args:
        logits: ``(M, N, V)``, float32 or float64; overwritten with the gradient.
        target: ``(N,)``.
        coefficients: what :func:`coefficients_like` makes.

    Returns:
        :class:`RDropLoss` of three ``(N,)``, in nats.
    """
    alpha, epsilon, a, nll_weight, b = coefficients
    classes = logits.size(-1)
    smoothing = epsilon / (classes - 1)
    index = target.view(1, -1, 1).expand(len(a), -1, 1)

    log_probs = logits.log_softmax(-1)
    probs = log_probs.exp()
    nll = -log_probs.gather(-1, index).squeeze(-1)
    smoothed = label_smoothed(nll, -log_probs.sum(-1), epsilon, classes)

    excess = mixed(b.sum(1).diag() - b, log_probs)
    weighted = excess.mul_(probs).nan_to_num_(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
    kl_by_view = weighted.sum(-1)
    kl = kl_by_view.sum(0).clamp(min=0)  # rounding may fall below zero
    kl.masked_fill_(nll.isnan().any(0), torch.nan)  # a NaN of the logits, which nan_to_num_ hid
    loss = weighted_sum(a, smoothed) + (alpha * kl if alpha else 0)

    if not alpha:
        torch.mul(probs, a.unsqueeze(-1), out=logits)
    else:
        row_factor = a + alpha * (b.sum(0).unsqueeze(1) - kl_by_view)
        torch.mul(probs, row_factor.unsqueeze(-1), out=logits)
        logits.add_(weighted.sub_(mixed(b.t(), probs)), alpha=alpha)
    if smoothing:
        logits.sub_(smoothing * a.unsqueeze(-1))
    on_target = ((epsilon + smoothing - 1) * a).unsqueeze(-1).expand(index.shape)
    logits.scatter_add_(-1, index, on_target)
    return RDropLoss(loss, weighted_sum(nll_weight, nll), kl)


def weighted_sum(weights: Tensor, values: Tensor) -> Tensor:
    """``(N,)``: the sum of values ``(M, N)`` times weights ``(M, 1)``; 0 times infinity is 0."""
    return (weights * values.masked_fill(weights == 0, 0)).sum(0)


def mixed(matrix: Tensor, values: Tensor) -> Tensor:
    """``sum_j matrix[i, j] values[j]``: ``(M, N, V)`` from ``(M, M)`` and ``(M, N, V)``.

    Not as a product of matrices, which autocast and TF32 would round.
    """
    first, *others = zip(matrix[:, :, None, None].unbind(1), values)
    total = torch.mul(*first)
    for column, view in others:
        total.addcmul_(column, view)
    return total
