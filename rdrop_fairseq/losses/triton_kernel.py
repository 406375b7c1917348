"""The elementwise part of the fused loss as two Triton kernels: two reads and one write of a logit.

The first reads all views of a token and gives its loss, the second reads them again and writes the
gradient, in the type of the products. The derivation stands in ``kernel.py``. It has run in
Triton's interpreter on a CPU (``TRITON_INTERPRET=1``), and not yet on a GPU.

With running maxima m_i, the first keeps of each view the sum of e^(z_i - m_i) and, for each other
view j, of e^(z_i - m_i) (z_i - z_j), and scales them again where the maximum grows:

    <p_i, l_i - l_j> = sum_v e^(z_i - m_i) (z_i - z_j) / sum_v e^(z_i - m_i) - (lse_i - lse_j)

A kernel holds a tile of all views, whose number is padded to a power of two, and some classes. What
it needs of view j alone it reads again, from the cache.
"""

from typing import Optional

import torch
import triton
import triton.language as tl
from torch import Tensor

from rdrop_fairseq.losses.interface import RDropLoss
from rdrop_fairseq.losses.kernel import Coefficients
from rdrop_fairseq.losses.products import Scaled, scale_for_float16

BLOCK = 2048
"""Classes of a tile. On a GPU not measured."""


def loss_and_gradient_(logits: Tensor, target: Tensor, coefficients: Coefficients) -> RDropLoss:
    """As the function of this name in ``kernel.py``, for contiguous float32 logits."""
    losses, _ = losses_and_gradient(logits, target, coefficients, torch.float32)
    return RDropLoss(*losses)


def losses_and_gradient(
    logits: Tensor,
    target: Tensor,
    coefficients: Coefficients,
    dtype: torch.dtype,
    token_factor: Optional[Tensor] = None,
) -> tuple:
    """Losses ``(3, N)`` and the :class:`Scaled` gradient ``(M, N, V)``.

    Args:
        logits: ``(M, N, V)``, contiguous float32; overwritten if the gradient is float32.
        target: ``(N,)``.
        coefficients: what :func:`~rdrop_fairseq.losses.kernel.coefficients_like` makes.
        dtype: of the gradient.
        token_factor: ``(N,)``, what each token's gradient is multiplied by.
    """
    num_views, tokens, classes = logits.shape
    alpha, epsilon, cross_entropy, nll, kl = coefficients
    numbers = classes, float(alpha), epsilon, epsilon / (classes - 1)
    weights = cross_entropy.contiguous(), nll.contiguous(), kl.contiguous()
    sizes = {"VIEWS": num_views, "PADDED": triton.next_power_of_2(num_views), "HAS_KL": alpha > 0}
    losses = logits.new_empty(3, tokens)
    lse, kl_by_view = logits.new_empty(2, num_views, tokens)
    largest = logits.new_empty(tokens)
    _losses[(tokens,)](
        *(logits, target, *weights, losses, lse, kl_by_view, largest, tokens, *numbers),
        **sizes, SMOOTHED=epsilon > 0, BLOCK=BLOCK,
    )  # fmt: skip
    factor = logits.new_ones(tokens) if token_factor is None else token_factor.to(logits.dtype)
    scale, inverse_scale = logits.new_ones(()), None
    if dtype == torch.float16:
        scale = scale_for_float16((largest * factor.abs()).max(), num_views * tokens)
        inverse_scale = 1 / scale
    out = logits if dtype == logits.dtype else torch.empty_like(logits, dtype=dtype)
    _gradient[(tokens, triton.cdiv(classes, BLOCK))](
        *(logits, target, weights[0], weights[2], lse, kl_by_view, factor, scale, out),
        *(tokens, *numbers), **sizes, BLOCK=BLOCK,
    )  # fmt: skip
    return losses, Scaled(out, inverse_scale)


@triton.jit
def _times(factor, value):
    """Their product, where 0 times infinity is 0."""
    return tl.where(factor == 0, 0.0, factor * value)


@triton.jit
def _losses(
    logits, target, cross_entropy, nll_weight, kl_weights,
    losses, lse, kl_by_view, largest_gradient,
    tokens, classes, alpha, epsilon, smoothing,
    VIEWS: tl.constexpr, PADDED: tl.constexpr, HAS_KL: tl.constexpr, SMOOTHED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """All of one token but its gradient; the largest element of that is only bounded."""
    token = tl.program_id(0).to(tl.int64)
    view = tl.arange(0, PADDED).to(tl.int64)
    is_view = view < VIEWS
    rows = logits + (view * tokens + token) * classes

    largest = tl.full((PADDED,), float("-inf"), tl.float32)
    total = tl.zeros((PADDED,), tl.float32)
    plain_sum = tl.zeros((PADDED,), tl.float32)
    moments = tl.zeros((PADDED, PADDED), tl.float32)  # [i, j]: sum of e^(z_i - m_i) (z_i - z_j)
    distance = tl.zeros((PADDED, PADDED), tl.float32)  # [i, j]: largest |z_i - z_j|
    for start in range(0, classes, BLOCK):
        place = start + tl.arange(0, BLOCK)
        inside = place < classes
        z = tl.load(rows[:, None] + place[None, :], is_view[:, None] & inside[None, :], 0.0)
        plain_sum += tl.sum(z, 1)
        z = tl.where(inside[None, :], z, float("-inf"))
        grown = tl.maximum(largest, tl.max(z, 1))
        shift = tl.where(grown == float("-inf"), 0.0, grown)
        kept = tl.exp(largest - shift)
        largest = grown
        exponentials = tl.exp(z - shift[:, None])
        total = total * kept + tl.sum(exponentials, 1)
        moments = _times(kept[:, None], moments)
        for j in tl.static_range(VIEWS):
            z_j = tl.load(logits + (j * tokens + token) * classes + place, inside, 0.0)
            apart = tl.where(exponentials == 0, 0.0, z - z_j[None, :])
            is_j = (view == j)[None, :]
            moments += tl.where(is_j, tl.sum(exponentials * apart, 1)[:, None], 0.0)
            furthest = tl.max(tl.abs(apart), 1)[:, None]
            distance = tl.maximum(distance, tl.where(is_j, furthest, 0.0))

    total = tl.where(is_view, total, 1.0)
    log_sum = tl.where(is_view, largest + tl.log(total), 0.0)
    label = tl.load(target + token)
    nll = log_sum - tl.load(rows + label, is_view, 0.0)
    smoothed = nll
    if SMOOTHED:
        smoothed = (1 - epsilon - smoothing) * nll + smoothing * (classes * log_sum - plain_sum)
    a = tl.load(cross_entropy + view, is_view, 0.0)
    loss = tl.sum(_times(a, smoothed), 0)

    pairs = view[:, None] * VIEWS + view[None, :]
    b = tl.load(kl_weights + pairs, is_view[:, None] & is_view[None, :], 0.0)
    same = view[:, None] == view[None, :]
    log_sum_j = tl.sum(tl.where(same, log_sum[:, None], 0.0), 0)
    between = log_sum[:, None] - log_sum_j[None, :]
    kl_i = tl.sum(_times(b, moments / total[:, None] - between), 1)
    kl = tl.sum(kl_i, 0)
    kl = tl.where(kl < 0, 0.0, kl)  # rounding may fall below zero
    bound = 2 * tl.abs(a)
    if HAS_KL:
        loss += alpha * kl
        furthest_i = tl.sum(_times(b, distance + tl.abs(between)), 1)
        c = tl.load(kl_weights + view[None, :] * VIEWS + view[:, None],
                    is_view[:, None] & is_view[None, :], 0.0)  # fmt: skip
        bound += alpha * (2 * tl.sum(c, 1) + tl.abs(kl_i) + furthest_i)
    tl.store(losses + token, loss)
    share = tl.load(nll_weight + view, is_view, 0.0)
    tl.store(losses + tokens + token, tl.sum(_times(share, nll), 0))
    tl.store(losses + 2 * tokens + token, kl)
    tl.store(lse + view * tokens + token, log_sum, is_view)
    tl.store(kl_by_view + view * tokens + token, kl_i, is_view)
    tl.store(largest_gradient + token, tl.max(bound, 0))


@triton.jit
def _gradient(
    logits, target, cross_entropy, kl_weights, lse, kl_by_view, factor, scale, out,
    tokens, classes, alpha, epsilon, smoothing,
    VIEWS: tl.constexpr, PADDED: tl.constexpr, HAS_KL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of one token at some classes, times its factor and the scale of all."""
    token = tl.program_id(0).to(tl.int64)
    view = tl.arange(0, PADDED).to(tl.int64)
    is_view = view < VIEWS
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = place < classes
    tile = (view * tokens + token)[:, None] * classes + place[None, :]
    shown = is_view[:, None] & inside[None, :]

    log_sum = tl.load(lse + view * tokens + token, is_view, 0.0)
    log_p = tl.load(logits + tile, shown, 0.0) - log_sum[:, None]
    p = tl.exp(log_p)
    a = tl.load(cross_entropy + view, is_view, 0.0)
    gradient = p * a[:, None]
    if HAS_KL:
        excess = tl.zeros((PADDED, BLOCK), tl.float32)
        others = tl.zeros((PADDED, BLOCK), tl.float32)
        c = tl.zeros((PADDED,), tl.float32)
        for j in tl.static_range(VIEWS):
            z_j = tl.load(logits + (j * tokens + token) * classes + place, inside, 0.0)
            log_p_j = (z_j - tl.load(lse + j * tokens + token))[None, :]
            b_ij = tl.load(kl_weights + view * VIEWS + j, is_view, 0.0)[:, None]
            b_ji = tl.load(kl_weights + j * VIEWS + view, is_view, 0.0)
            excess += _times(b_ij, log_p - log_p_j)
            others += b_ji[:, None] * tl.exp(log_p_j)
            c += b_ji
        of_view = tl.load(kl_by_view + view * tokens + token, is_view, 0.0)
        gradient += alpha * (p * (c - of_view)[:, None] + _times(p, excess) - others)
    label = tl.load(target + token)
    gradient -= a[:, None] * tl.where(place == label, 1 - epsilon, smoothing)[None, :]
    gradient *= tl.load(factor + token) * tl.load(scale)
    tl.debug_barrier()  # in float32 it overwrites the logits, which other threads may still read
    tl.store(out + tile, gradient, shown)
