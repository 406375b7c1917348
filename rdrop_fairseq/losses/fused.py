"""R-Drop with its gradient in closed form: the numbers of ``reference.py``, faster and smaller.

The forward pass makes the gradient together with the loss, block by block, in the memory of the
logits (``of_logits.py``, ``of_features.py``); the backward pass only scales it. So nothing of the
size of all logits is kept in between, and the linear form, which makes the logits itself, never
holds all of them at once.

Everything is *by view*: callers give ``(M, *, V)``; without the padding it is ``(M, N, V)``.

On a GPU the host waits for the device once, to learn how many tokens count. Only ``backward`` of
the unreduced loss waits again.

Not for ``torch.func``, ``vmap`` or ``torch.compile(fullgraph=True)``, since only the data tell how
many tokens count: the reference loss works there.
"""

from typing import Optional

import torch
from torch import Tensor

from rdrop_fairseq.losses.chunks import tokens_in_a_chunk
from rdrop_fairseq.losses.interface import RDropLoss, ViewWeights, checked_weights
from rdrop_fairseq.losses.of_features import RDropOfFeatures
from rdrop_fairseq.losses.of_logits import RDropOfLogits
from rdrop_fairseq.losses.plan import make_plan
from rdrop_fairseq.losses.products import product_dtype
from rdrop_fairseq.options import (
    LABEL_SMOOTHING,
    RDROP_CHUNK_MEMORY,
    RDROP_CHUNK_SIZE,
    RDROP_KERNEL,
    REG_ALPHA,
)


def fused_rdrop_loss(
    logits: Tensor,
    target: Tensor,
    alpha: float = REG_ALPHA.default,
    label_smoothing: float = LABEL_SMOOTHING.default,
    padding_idx: Optional[int] = None,
    reduce: bool = True,
    weights: Optional[ViewWeights] = None,
    kernel: str = RDROP_KERNEL.default,
) -> RDropLoss:
    """:func:`~rdrop_fairseq.losses.reference.rdrop_loss`, with its gradient in closed form.

    Next to the logits it holds one tensor of their size: their gradient, in float32 at least.
    ``backward`` makes another if it has to scale it or round it to half precision. ``kernel`` is
    that of :func:`linear_rdrop_loss`; the other arguments, result and errors are those of the
    reference; differentiating twice raises ``RuntimeError``.
    """
    weights = checked_weights(logits.shape, target, alpha, label_smoothing, weights)
    terms = alpha, label_smoothing, weights
    plan = make_plan(target, padding_idx, terms=terms, reduce=reduce, kernel=kernel)
    return _without_first_dimension(RDropOfLogits.apply(logits.unsqueeze(1), plan), reduce)


def linear_rdrop_loss(
    features: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    target: Tensor,
    alpha: float = REG_ALPHA.default,
    label_smoothing: float = LABEL_SMOOTHING.default,
    padding_idx: Optional[int] = None,
    reduce: bool = True,
    weights: Optional[ViewWeights] = None,
    chunk_size: Optional[int] = None,
    chunk_memory: Optional[int] = None,
    kernel: str = RDROP_KERNEL.default,
) -> RDropLoss:
    """R-Drop of ``logits = features @ weight.T + bias`` that never holds all the logits.

    It walks over chunks of target tokens. For each it computes the logits of every view, the loss
    and the gradients of features, weight and bias; padding is left out before the projection. Next
    to the operands it holds one copy of the features and their gradient, the gradients of weight
    and bias, and the logits of one chunk.

    Half-precision operands are multiplied as they are where that is faster (``products.py``), the
    gradient of the logits being rounded to their type for that; all else is in float32 at least.

    Args:
        features: ``(M, *, H)``, what the decoder gives to its output projection in each view.
        weight: ``(V, H)``, the output projection.
        bias: ``(V,)`` or ``None``.
        chunk_size: target tokens in a chunk; by default as many as ``chunk_memory`` allows.
        chunk_memory: MiB for the logits of a chunk; by default what suits the device.
        kernel: of the elementwise part, a value of ``--rdrop-kernel``.

    The other arguments, the result and the errors are those of
    :func:`~rdrop_fairseq.losses.reference.rdrop_loss`; differentiating twice raises
    ``RuntimeError``.
    """
    if weight.dim() != 2 or features.shape[-1:] != weight.shape[1:]:
        raise ValueError(
            f"features of shape {tuple(features.shape)} do not fit a projection of shape "
            f"{tuple(weight.shape)}: give features (views, *target shape, H) and weight (V, H)"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"a bias of shape {tuple(bias.shape)} does not fit a projection of shape "
            f"{tuple(weight.shape)}: give ({len(weight)},)"
        )
    RDROP_CHUNK_SIZE.check(chunk_size)
    RDROP_CHUNK_MEMORY.check(chunk_memory)
    shape = torch.Size((*features.shape[:-1], len(weight)))
    weights = checked_weights(shape, target, alpha, label_smoothing, weights)
    dtype = product_dtype(features, weight)
    size = chunk_size or tokens_in_a_chunk(
        len(features), *weight.shape, dtype, features.device, chunk_memory
    )
    terms = alpha, label_smoothing, weights
    how = {"terms": terms, "reduce": reduce, "kernel": kernel, "chunk_size": size, "dtype": dtype}
    plan = make_plan(target, padding_idx, **how)
    outcome = RDropOfFeatures.apply(features.unsqueeze(1), weight, bias, plan)
    return _without_first_dimension(outcome, reduce)


def _without_first_dimension(outcome: tuple, reduce: bool) -> RDropLoss:
    return RDropLoss(*(outcome if reduce else (values.squeeze(0) for values in outcome)))
