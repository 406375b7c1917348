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

from rdrop_fairseq.losses.interface import RDropLoss, check_arguments, padding_mask, reduced
from rdrop_fairseq.options import REG_ALPHA


def rdrop_loss(
    logits: Tensor,
    target: Tensor,
    alpha: float = REG_ALPHA.default,
    label_smoothing: float = 0.0,
    padding_idx: Optional[int] = None,
    reduce: bool = True,
) -> RDropLoss:
    """R-Drop (Liang et al., NeurIPS 2021, arXiv 2106.14448, eq. 4) from the views' logits.

        loss = sum over tokens of  CE(z_1) + ... + CE(z_M)
             + alpha * mean over pairs (a, b) of  1/2 [KL(p_a || p_b) + KL(p_b || p_a)]

    Normalisation: the cross-entropy is summed over the views, the KL counts once per target token,
    and nothing is divided by the number of tokens. To train, divide ``loss`` by the number of
    target tokens of *one* view. With two views this is the paper's equation.

    Args:
        logits: ``(M, *, V)``, the unnormalised scores of ``M >= 2`` views. float16 and bfloat16
            are computed in float32, float32 and float64 as they are.
        target: ``(*)``, class indices, the same for every view.
        alpha: weight of the KL (the paper's default for translation is 5).
        label_smoothing: mass taken from the target and spread evenly over the other ``V - 1``
            classes, as fairseq's ``label_smoothed_nll_loss`` does.
        padding_idx: targets of this class count for nothing and get no gradient.
        reduce: sum over tokens; otherwise every field has the shape of ``target``.

    Returns:
        :class:`RDropLoss`, in nats.

    Raises:
        ValueError: shapes that do not fit, fewer than two views or classes, or an ``alpha`` or
            ``label_smoothing`` out of range.
    """
    check_arguments(logits.shape, target, alpha, label_smoothing)
    mask = padding_mask(target, padding_idx)
    log_probs = log_softmax(logits[:, mask])
    nll = -log_probs.gather(-1, target[mask].expand(len(logits), -1).unsqueeze(-1)).squeeze(-1)
    smoothed = label_smoothed(nll, -log_probs.sum(-1), label_smoothing, logits.size(-1))
    kl = symmetric_kl(log_probs)
    return reduced((smoothed.sum(0) + alpha * kl, nll.mean(0).detach(), kl.detach()), mask, reduce)


def log_softmax(logits: Tensor) -> Tensor:
    """Log-probabilities over the last dimension, in float32 at least."""
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return torch.log_softmax(logits, dim=-1, dtype=dtype)


def label_smoothed(nll: Tensor, negative_sum: Tensor, epsilon: float, classes: int) -> Tensor:
    """Cross-entropy with ``1 - epsilon`` on the target and the rest on the other classes.

    Args:
        nll: negative log-probability of the target.
        negative_sum: negative sum of the log-probabilities of all classes, the same shape.
        epsilon: the smoothing mass.
        classes: how many classes there are.
    """
    share = epsilon / (classes - 1)
    return (1 - epsilon - share) * nll + share * negative_sum


def symmetric_kl(log_probs: Tensor) -> Tensor:
    """``1/2 [KL(p || q) + KL(q || p)]`` of views ``(M, N, V)``: ``(N,)``, the mean over all pairs.

    The two directions collapse to ``1/2 sum_v (p_v - q_v)(log p_v - log q_v)``. No term is
    negative, so the sum cancels nothing and is never below zero.
    """
    probs = log_probs.exp()
    pairs = list(combinations(range(len(log_probs)), 2))
    total = sum(((probs[a] - probs[b]) * (log_probs[a] - log_probs[b])).sum(-1) for a, b in pairs)
    return total / (2 * len(pairs))
