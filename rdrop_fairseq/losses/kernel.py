"""The closed-form gradient of R-Drop on one block of logits, and its derivation."""

from typing import NamedTuple

import torch
from torch import Tensor

from rdrop_fairseq.losses.interface import RDropLoss
from rdrop_fairseq.losses.reference import label_smoothed


class Weights(NamedTuple):
    """The two numbers that weigh the parts of the loss."""

    alpha: float
    label_smoothing: float


# One token has M views with logits z_i; p_i = softmax(z_i), l_i = log p_i, and t is the smoothed
# distribution of the target. Let u_i = l_i - mean_j l_j. Because
#
#     sum_{i<j} (a_i - a_j)(b_i - b_j) = M sum_i a_i (b_i - mean_j b_j),
#
# the mean symmetric KL over the M (M-1) / 2 pairs needs no loop over pairs:
#
#     KL = 1 / (M (M-1)) sum_{i<j} <p_i - p_j, l_i - l_j> = 1 / (M-1) sum_i <p_i, u_i>
#
# With dp_i/dz_i = diag(p_i) - p_i p_i^T and dl_i/dz_i = I - 1 p_i^T:
#
#     dKL/dz_i   = 1 / (M-1) [ p_i (u_i - <p_i, u_i>) + p_i - mean_j p_j ]
#     dCE/dz_i   = p_i - t
#     dloss/dz_i = p_i (1 + w - w <p_i, u_i> + w u_i) - w mean_j p_j - t,     w = alpha / (M-1)
#
# For two views, with d = log p - log q, this is p - t + alpha/2 [p (d - <p, d>) + p - q].
def loss_and_gradient_(logits: Tensor, target: Tensor, weights: Weights) -> RDropLoss:
    """Turn logits into the gradient of the loss with respect to them, and return the loss.

    Args:
        logits: ``(N, M, V)``, the views of a token next to each other, float32 or float64;
            overwritten with the gradient.
        target: ``(N,)``.
        weights: alpha and label smoothing.

    Returns:
        :class:`RDropLoss` of three ``(N,)``, in nats.
    """
    num_views, classes = logits.shape[1:]
    share = weights.label_smoothing / (classes - 1)
    kl_weight = weights.alpha / (num_views - 1)
    index = target.view(-1, 1, 1).expand(-1, num_views, 1)

    log_probs = logits.log_softmax(-1)
    probs = log_probs.exp()
    nll = -log_probs.gather(-1, index).squeeze(-1)
    smoothed = label_smoothed(nll, -log_probs.sum(-1), weights.label_smoothing, classes)

    excess = log_probs.sub_(log_probs.sum(1, keepdim=True), alpha=1 / num_views)
    mean_excess = torch.mul(probs, excess, out=logits).sum(-1)
    kl = mean_excess.sum(1).div(num_views - 1).clamp(min=0)  # rounding may fall below zero

    row_factor = (1 + kl_weight - kl_weight * mean_excess).unsqueeze(-1)
    factor = torch.add(row_factor, excess, alpha=kl_weight, out=logits)
    common = probs.sum(1, keepdim=True).mul_(-kl_weight / num_views).sub_(share)
    torch.addcmul(common, probs, factor, out=logits)
    on_target = logits.new_full((), weights.label_smoothing + share - 1).expand(index.shape)
    logits.scatter_add_(-1, index, on_target)
    return RDropLoss(smoothed.sum(1) + weights.alpha * kl, nll.mean(1), kl)
