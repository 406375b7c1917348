"""R-Drop in its general form, for outputs that are no softmax over classes: any distance D.

Needs PyTorch alone. Regression, where D is the squared error:

    outputs = torch.stack([model(batch), model(batch)])  # (2, B): two passes, dropout on
    total = distance_loss(outputs, target, alpha=1.0, distance=squared_error)
    (total.loss / len(target)).backward()
"""

from itertools import permutations
from typing import Callable, Optional

import torch
from torch import Tensor

from rdrop_fairseq.losses.interface import RDropLoss, ViewWeights, chosen_weights
from rdrop_fairseq.losses.reference import log_softmax, times_difference

Distance = Callable[[Tensor, Tensor], Tensor]
"""``D(expected, given)``: one value, 0 or more, for each sample or each number of a sample."""


def distance_loss(
    outputs: Tensor,
    target: Tensor,
    alpha: float,
    distance: Distance,
    target_distance: Optional[Distance] = None,
    reduce: bool = True,
    weights: Optional[ViewWeights] = None,
) -> RDropLoss:
    """R-Drop for any distance D (Su Jianlin, https://spaces.ac.cn/archives/8496).

        loss = D(y, f_1) + D(y, f_2) + alpha/2 [ D(f_2, f_1) + D(f_1, f_2) ]

    With M views the first part is a sum over all of them and the second ``alpha`` times the mean
    over all ordered pairs. Normalisation as in :func:`~rdrop_fairseq.losses.reference.rdrop_loss`:
    nothing is divided by the number of samples. With the squared error the loss is
    ``(f_1 - y)^2 + (f_2 - y)^2 + alpha (f_1 - f_2)^2``. With :func:`kl_divergence` between the
    views and :func:`cross_entropy` to the target it is R-Drop, for which ``reference`` and
    ``fused`` are quicker and round less.

    Args:
        outputs: ``(M, *)``, those of ``M >= 2`` passes.
        target: what ``target_distance`` compares an output with.
        alpha: weight of the distances between views, a number, without a unit if both distances
            have the same.
        distance: D between two views.
        target_distance: D between the target and a view, if it is another one.
        reduce: sum each distance over the samples; otherwise every field has the shape that
            both distances must then have.
        weights: of each view's distance to the target and of each pair, where they are not
            R-Drop's: with ``rdrop_weights(M).label_free()``, for samples without a label, the
            target adds nothing to the loss.

    Returns:
        :class:`RDropLoss` in the unit of D, squared for the squared error, nats for the KL:
        ``nll_loss`` is the mean distance of the views to the target, ``kl_loss`` the mean distance
        between views.

    Raises:
        ValueError: fewer than two views, weights for another number of views, ``alpha`` out of
            range, or what the distance refuses.
    """
    weights = chosen_weights(len(outputs), alpha, weights)

    def total(measure, expected, given):
        values = measure(expected, given)
        return values.sum() if reduce else values

    to_target = [total(target_distance or distance, target, output) for output in outputs]
    nothing = torch.zeros_like(to_target[0].detach())
    supervised = sum((a * each for a, each in zip(weights.cross_entropy, to_target) if a), nothing)
    pairs = [(i, j) for i, j in permutations(range(len(outputs)), 2) if weights.kl[i][j]]
    between = (weights.kl[i][j] * total(distance, outputs[i], outputs[j]) for i, j in pairs)
    between = sum(between, nothing)
    fit = sum(w * each for w, each in zip(weights.nll_weights(), to_target) if w)
    loss = supervised + (alpha * between if alpha else 0)
    return RDropLoss(loss, fit.detach(), between.detach())


def squared_error(expected: Tensor, given: Tensor) -> Tensor:
    """``(expected - given)^2``, number by number: ``(*)`` and ``(*)`` to ``(*)``, at least float32.

    Raises:
        ValueError: the shapes differ, which PyTorch would spread to all pairs.
    """
    if expected.shape != given.shape:
        raise ValueError(
            f"the squared error needs two tensors of one shape, not {tuple(expected.shape)} and "
            f"{tuple(given.shape)}: squeeze or reshape one of them"
        )
    dtype = torch.promote_types(given.dtype, torch.float32)
    return (expected.to(dtype) - given.to(dtype)).square()


def kl_divergence(expected: Tensor, given: Tensor) -> Tensor:
    """``KL(p || q)`` in nats of ``p = softmax(expected)`` and ``q = softmax(given)``.

    ``(*, V)`` and ``(*, V)`` to ``(*)``. A class with a probability of 0 in ``p`` counts for
    nothing, so the logarithm of a one-hot target will do for ``expected``.
    """
    log_p, log_q = log_softmax(expected), log_softmax(given)
    return times_difference(log_p.exp(), log_p, log_q)


def cross_entropy(target: Tensor, logits: Tensor) -> Tensor:
    """``-log softmax(logits)`` of the target, in nats: ``(*)`` classes and ``(*, V)`` to ``(*)``.

    It is ``KL(y || f)`` for a one-hot y, whose entropy is 0.
    """
    return -log_softmax(logits).gather(-1, target.unsqueeze(-1)).squeeze(-1)
