"""R-Drop of one output a sentence: classes, some of them not known, and numbers."""

import torch
from torch import Tensor

from rdrop_fairseq.losses.distances import distance_loss, squared_error
from rdrop_fairseq.losses.interface import RDropLoss, ViewWeights
from rdrop_fairseq.losses.reference import rdrop_loss

IGNORED = -100
"""A class that counts for nothing, in PyTorch's ``nll_loss`` too."""


def classification_loss(
    logits: Tensor, target: Tensor, is_labelled: Tensor, alpha: float, weights: ViewWeights
) -> RDropLoss:
    """R-Drop with one "token" a sentence; a sentence without a label counts in the KL only.

    Liang et al., NeurIPS 2021, eq. 4, and, without a label, Su, spaces.ac.cn/archives/8496.

    Args:
        logits: ``(M, B, C)`` of the views.
        target: ``(B,)``, classes; those of sentences without a label are not looked at.
        is_labelled: ``(B,)`` of bool.
        alpha: weight of the KL.
        weights: of the views.

    Returns:
        :class:`RDropLoss`, sums over the sentences in nats; ``nll_loss`` over those with a label.

    Raises:
        ValueError: as :func:`rdrop_loss`.
    """
    # all sentences twice, since the host would wait for the device to part them
    known = target.masked_fill(~is_labelled, IGNORED)
    labelled = rdrop_loss(logits, known, alpha, padding_idx=IGNORED, weights=weights)
    any_class = torch.zeros_like(target).masked_fill(is_labelled, IGNORED)
    others = rdrop_loss(logits, any_class, alpha, padding_idx=IGNORED, weights=weights.label_free())
    return RDropLoss(
        labelled.loss + others.loss, labelled.nll_loss, labelled.kl_loss + others.kl_loss
    )


def regression_loss(
    predictions: Tensor, target: Tensor, alpha: float, weights: ViewWeights
) -> RDropLoss:
    """R-Drop with the squared error as its distance, for R-Drop's weights of two views

        loss = sum over sentences of  (f_1 - y)^2 + (f_2 - y)^2 + alpha (f_1 - f_2)^2

    The general form of Su, spaces.ac.cn/archives/8496, with D(a, b) = (a - b)^2.

    Args:
        predictions: ``(M, B, K)`` of the views; float16 and bfloat16 are computed in float32.
        target: ``(B, K)``, numbers.
        alpha: weight of the distances between views.
        weights: of the views.

    Returns:
        :class:`RDropLoss`, sums over all numbers: ``nll_loss`` is the squared error, the mean of
        the views that have one, and ``kl_loss`` the weighted distance between the views.

    Raises:
        ValueError: shapes that do not fit, or an ``alpha`` out of range.
    """
    return distance_loss(predictions, target, alpha, squared_error, weights=weights)
