"""R-Drop of an adaptive softmax: a head over the frequent words and the clusters, and their tails.

Grave et al., "Efficient softmax approximation for GPUs" (arXiv 1609.04309): the head has the
frequent words and one class for each cluster of rarer words, and the tail of a cluster has its
words. A token is in the head and, if its word is rare, in one tail.

As the authors of R-Drop have it (``reg_adaptive_loss.py``), the loss is the sum over the head and
the tails of the R-Drop loss of their own distributions, each over the tokens that have a target
there:

    loss = sum over clusters c of  sum over tokens in c of
               CE(z_1) + ... + CE(z_M) + alpha * 1/2 [KL(p_c || q_c) + KL(q_c || p_c)]

The cross-entropies of a token add up to that of its word. The KLs do not add up to that of the
whole vocabulary, which by the chain rule needs every tail at every token:

    KL(p || q) = KL(p_head || q_head) + sum over clusters c of  p_head(c) KL(p_c || q_c)

Here the tail of the token's own cluster counts in full, and the others not at all.
"""

from typing import Callable, Optional

from torch import Tensor

from rdrop_fairseq.losses.fused import linear_rdrop_loss
from rdrop_fairseq.losses.interface import RDropLoss, ViewWeights
from rdrop_fairseq.options import ADAPTIVE_ALPHA


def adaptive_rdrop_loss(
    features: Tensor,
    projections: list,
    target: Tensor,
    alpha: float = ADAPTIVE_ALPHA.default,
    padding_idx: int = -100,
    reduce: bool = True,
    weights: Optional[ViewWeights] = None,
    loss: Callable = linear_rdrop_loss,
) -> RDropLoss:
    """The sum of the R-Drop losses of the head and the tails.

    By default the logits of a cluster are made for its own tokens only, and of these for a chunk at
    a time (:func:`~rdrop_fairseq.losses.fused.linear_rdrop_loss`).

    As in fairseq's ``adaptive_loss``, a class of a *cluster* with the number ``padding_idx`` counts
    for nothing there. So the word with that number in a tail is trained in the head alone.

    Args:
        features: ``(M, *, H_0 + H_1 + ...)``, what the head and each tail are given in each view,
            side by side.
        projections: of the head ``(C_0 + K, H_0)``, for ``C_0`` words and K clusters, and of the
            tails ``(C_1, H_1)`` to ``(C_K, H_K)``.
        target: ``(*)``, words numbered in that order.
        alpha: weight of the KL.
        padding_idx: targets of this class count for nothing and get no gradient.
        reduce: sum over tokens; otherwise every field has the shape of ``target``.
        weights: of the views, where they are not R-Drop's.
        loss: :func:`~rdrop_fairseq.losses.fused.linear_rdrop_loss`, or another with its arguments.

    Returns:
        :class:`RDropLoss`, in nats.

    Raises:
        ValueError: a target is not a word, or as the loss itself.
    """
    sizes = cluster_sizes(projections)
    check_target(target, sum(sizes), padding_idx)
    by_cluster = features.split([projection.size(1) for projection in projections], -1)
    targets = targets_of_clusters(target, sizes, padding_idx)
    parts = [
        loss(*operands, None, classes, alpha, 0.0, padding_idx, reduce, weights)
        for *operands, classes in zip(by_cluster, projections, targets)
    ]
    return RDropLoss(*map(sum, zip(*parts)))


def cluster_sizes(projections: list) -> list:
    """How many words the head and each tail have."""
    head, *tails = (len(projection) for projection in projections)
    return [head - len(tails), *tails]


def targets_of_clusters(target: Tensor, sizes: list, padding_idx: int) -> list:
    """The classes of the tokens in the head and in each tail, padding where they have none there.

    Returns:
        A list of ``(*)``, the shape of ``target``.
    """
    first = start = sizes[0]
    targets = [target.clone()]
    for number, size in enumerate(sizes[1:]):
        is_here = (target >= start) & (target < start + size)
        targets[0].masked_fill_(is_here, first + number)
        targets.append((target - start).masked_fill_(~is_here, padding_idx))
        start += size
    return targets


def check_target(target: Tensor, words: int, padding_idx: int) -> None:
    """Raise ``ValueError`` if a target that counts is not the number of a word.

    The host waits here for the device, so that this is an error and not a crash in a kernel.
    """
    wrong = (target.ne(padding_idx) & ((target < 0) | (target >= words))).any()
    if wrong:
        raise ValueError(
            f"a target is outside the vocabulary (0 to {words - 1}): make "
            "the model with the dictionary of the data"
        )
