"""R-Drop with its gradient in closed form: the reference's numbers for less time and memory.

Derivation. One token has ``M`` views with logits ``z_i``, ``p_i = softmax(z_i)``, and a smoothed
target distribution ``t``. Let ``S`` be the sum of the views' logits and ``r_i = S - M z_i``. The
mean of the symmetric KL over all pairs needs no sum over pairs, since
``sum_{i<j} (a_i - a_j)(b_i - b_j) = M sum_i a_i b_i - (sum_i a_i)(sum_j b_j)``; and because every
``p_i`` sums to one, the normalisers of the log-probabilities cancel:

    KL = 1 / (M (M-1)) sum_{i<j} sum_v (p_iv - p_jv)(log p_iv - log p_jv)
       = -c sum_i <p_i, r_i>,                                             c = 1 / (M (M-1))

With ``d p_i / d z_i = diag(p_i) - p_i p_i^T`` and the chain rule through ``p_i`` and ``r_i``:

    d KL / d z_i = c [ p_i (<p_i, r_i> - r_i) + M p_i - sum_j p_j ]
    d CE / d z_i = p_i - t

    d loss / d z_i = p_i (1 + alpha c (M + <p_i, r_i>) - alpha c r_i) - alpha c sum_j p_j - t

For ``M = 2`` this is ``(p - t) + alpha/2 [p (d - <p, d>) + (p - q)]`` with ``d = log p - log q``.
"""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from rdrop_fairseq.losses.reference import RDropLoss, check_loss_arguments

# How many logits a chunk of the linear form holds: enough to keep the matrix products busy.
CHUNK_ELEMENTS = 2**25
# How many logits the elementwise part takes at a time on a CPU: few enough to stay in its cache.
BLOCK_ELEMENTS = 2**18


def fused_rdrop_loss(
    logits: Tensor,
    target: Tensor,
    alpha: float = 5.0,
    label_smoothing: float = 0.0,
    padding_idx: Optional[int] = None,
    reduce: bool = True,
) -> RDropLoss:
    """:func:`~rdrop_fairseq.losses.reference.rdrop_loss` that holds one tensor beside the logits.

    That tensor is their gradient, in float32 at least. Arguments, result and errors are those of
    the reference.

    Raises:
        RuntimeError: when differentiated twice.
    """
    check_loss_arguments(logits, target, alpha, label_smoothing)
    counted = _counted(target, padding_idx)
    objective = Objective(alpha, label_smoothing)
    per_token = _RDropOfLogits.apply(logits, target, counted, objective)
    return _as_asked(RDropLoss(*per_token), counted, reduce)


def linear_rdrop_loss(
    features: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    target: Tensor,
    alpha: float = 5.0,
    label_smoothing: float = 0.0,
    padding_idx: Optional[int] = None,
    reduce: bool = True,
    chunk_size: Optional[int] = None,
) -> RDropLoss:
    """R-Drop of ``logits = features @ weight.T + bias`` that never holds all the logits.

    It walks over chunks of tokens. Of each it computes the logits of every view, the loss and the
    gradients of features, weight and bias, all in float32 at least whatever the operands are.
    Padding is left out before the projection. Beside the operands it holds one copy of the
    features, gradients of weight and bias, and one chunk of logits.

    Args:
        features: ``(M, *, H)``, what the decoder gives to its output projection in each view.
        weight: ``(V, H)``, the output projection.
        bias: ``(V,)`` or ``None``.
        chunk_size: target tokens in a chunk; by default as many as make ``CHUNK_ELEMENTS`` logits.

    The other arguments, the result and the errors are those of
    :func:`~rdrop_fairseq.losses.reference.rdrop_loss`.

    Raises:
        RuntimeError: when differentiated twice.
    """
    if features.size(-1) != weight.size(-1):
        raise ValueError(
            f"features of width {features.size(-1)} do not fit a weight of {tuple(weight.shape)}"
        )
    shape_of_logits = (*features.shape[:-1], weight.size(0))
    no_logits = features.new_empty(()).expand(shape_of_logits)  # a shape without memory
    check_loss_arguments(no_logits, target, alpha, label_smoothing)
    counted = _counted(target, padding_idx)
    objective = Objective(alpha, label_smoothing)
    per_token = _RDropOfFeatures.apply(
        features, weight, bias, target, counted, objective, chunk_size
    )
    return _as_asked(RDropLoss(*per_token), counted, reduce)


class Objective(NamedTuple):
    """The two numbers that weigh the parts of the loss."""

    alpha: float
    label_smoothing: float


def loss_and_gradient_(logits: Tensor, target: Tensor, objective: Objective) -> RDropLoss:
    """Turn a block of logits into its gradient, in place, and return the loss of each token.

    Args:
        logits: ``(K, M, V)``, float32 or float64; overwritten with ``d loss / d logits``.
        target: ``(K,)``.
        objective: alpha and label smoothing.

    Returns:
        :class:`RDropLoss` of three ``(K,)``.
    """
    views, classes = logits.shape[1:]
    share = objective.label_smoothing / (classes - 1)
    on_target = 1 - objective.label_smoothing - share
    kl_scale = 1 / (views * (views - 1))
    alpha = objective.alpha * kl_scale
    index = target.view(-1, 1, 1).expand(-1, views, 1)

    largest, total = logits.amax(-1), logits.sum(-1)
    target_logit = logits.gather(-1, index).squeeze(-1)
    probs = logits.softmax(-1)
    normaliser = largest - probs.amax(-1).log()  # the largest probability cannot underflow
    nll = normaliser - target_logit
    smoothed = on_target * nll + share * (classes * normaliser - total)

    residual = torch.sub(logits.sum(1, keepdim=True), logits, alpha=views, out=logits)
    mean_residual = torch.linalg.vecdot(probs, residual)
    kl = mean_residual.sum(1).mul(-kl_scale).clamp(min=0)  # rounding may fall below zero

    row_factor = (1 + alpha * (views + mean_residual)).unsqueeze(-1)
    gradient = torch.sub(row_factor, residual, alpha=alpha, out=logits).mul_(probs)
    gradient.sub_(probs.sum(1, keepdim=True).mul_(alpha).add_(share))
    gradient.scatter_add_(-1, index, gradient.new_full((), -on_target).expand(index.shape))
    return RDropLoss(smoothed.sum(1) + objective.alpha * kl, nll.mean(1), kl)


class _RDropOfLogits(torch.autograd.Function):
    """Loss of each counted token, ``(N,)``, from logits; ``forward`` makes the gradient too."""

    @staticmethod
    def forward(ctx, logits, target, counted, objective):
        dtype = torch.promote_types(logits.dtype, torch.float32)
        tokens = logits.movedim(0, -2)
        gradient = torch.empty_like(tokens, dtype=dtype) if ctx.needs_input_grad[0] else None
        places = counted.nonzero(as_tuple=True)
        parts = []
        for block in _blocks(len(places[0]), tokens.shape[-2:].numel(), logits.device):
            here = tuple(place[block] for place in places)
            logits_here = tokens[here].to(dtype)
            parts.append(loss_and_gradient_(logits_here, target[here], objective))
            if gradient is not None:
                gradient[here] = logits_here
        if gradient is not None:
            gradient[~counted] = 0
        ctx.gradient, ctx.dtype = gradient, logits.dtype
        ctx.save_for_backward(counted)
        return _joined(ctx, parts)

    @staticmethod
    def backward(ctx, grad_loss, *_):
        _refuse_second_derivatives()
        (counted,) = ctx.saved_tensors
        gradient = ctx.gradient.movedim(-2, 0)
        if ctx.dtype != gradient.dtype or not grad_loss.eq(1).all():
            factor = grad_loss.new_zeros(counted.shape).masked_scatter_(counted, grad_loss)
            scaled = torch.empty_like(gradient, dtype=ctx.dtype)  # rounded after it is scaled
            gradient = torch.mul(gradient, factor.unsqueeze(-1), out=scaled)
        return gradient, None, None, None


class _RDropOfFeatures(torch.autograd.Function):
    """Loss of each counted token, ``(N,)``, from features and projection; gradients likewise.

    Those of weight and bias sum over the tokens, so they serve only while every token's loss has
    the same factor, as after ``sum()``. For other factors ``backward`` walks once more.
    """

    @staticmethod
    def forward(ctx, features, weight, bias, target, counted, objective, chunk_size):
        operands = features, weight, bias, target, counted
        ctx.save_for_backward(*operands)
        ctx.settings = objective, chunk_size, ctx.needs_input_grad[:3]
        parts, ctx.gradients = _walk(*operands, *ctx.settings)
        return _joined(ctx, parts)

    @staticmethod
    def backward(ctx, grad_loss, *_):
        _refuse_second_derivatives()
        gradients, factor = ctx.gradients, grad_loss[0] if len(grad_loss) else 1.0
        if not grad_loss.eq(factor).all():
            _, gradients = _walk(*ctx.saved_tensors, *ctx.settings, token_factor=grad_loss)
            factor = 1.0
        features, weight, bias, _, counted = ctx.saved_tensors
        grad_features, grad_weight, grad_bias = (
            None if gradient is None else (gradient * factor).to(operand.dtype)
            for gradient, operand in zip(gradients, (features, weight, bias))
        )
        if grad_features is not None:
            rows, grad_features = grad_features, torch.zeros_like(features)
            grad_features.movedim(0, -2)[counted] = rows
        return grad_features, grad_weight, grad_bias, None, None, None, None, None


def _walk(
    features, weight, bias, target, counted, objective, chunk_size, wanted, token_factor=None
):
    """Losses and the wanted gradients of (counted features, weight, bias), chunk by chunk.

    Autocast is off, so that products of half-precision operands are made and kept in float32.
    """
    dtype = torch.promote_types(features.dtype, torch.float32)
    with torch.autocast(features.device.type, enabled=False):
        rows = features.movedim(0, -2)[counted].to(dtype)  # (N, M, H), becomes its own gradient
        weight = weight.to(dtype)
        target = target[counted]
        tokens, views, width = rows.shape
        grad_weight = torch.zeros_like(weight) if wanted[1] else None
        grad_bias = weight.new_zeros(len(weight)) if wanted[2] else None
        chunks = _chunks(tokens, chunk_size or CHUNK_ELEMENTS // (views * len(weight)))
        buffer = rows.new_empty(
            views * max(chunk.stop - chunk.start for chunk in chunks), len(weight)
        )
        parts = []
        for chunk in chunks:
            inputs = rows[chunk].view(-1, width)
            logits = torch.mm(inputs, weight.t(), out=buffer[: len(inputs)])
            if bias is not None:
                logits += bias
            logits = logits.view(-1, views, len(weight))
            for block in _blocks(len(logits), views * len(weight), logits.device):
                parts.append(loss_and_gradient_(logits[block], target[chunk][block], objective))
            if token_factor is not None:
                logits *= token_factor[chunk].view(-1, 1, 1)
            gradient = logits.view(-1, len(weight))
            if grad_weight is not None:
                grad_weight.addmm_(gradient.t(), inputs)
            if grad_bias is not None:
                grad_bias += gradient.sum(0)
            if wanted[0]:
                torch.mm(gradient, weight, out=inputs)
    return parts, (rows if wanted[0] else None, grad_weight, grad_bias)


def _chunks(tokens: int, size: int) -> list:
    """One slice or more over the tokens, at most ``size`` long and of nearly equal length."""
    count = max(1, -(-tokens // max(1, size)))
    bounds = [tokens * number // count for number in range(count + 1)]
    return [slice(start, end) for start, end in zip(bounds, bounds[1:])]


def _blocks(tokens: int, logits_of_a_token: int, device: torch.device) -> list:
    """Slices for the elementwise part: cache-sized on a CPU, whole chunks on a GPU."""
    elements = BLOCK_ELEMENTS if device.type == "cpu" else CHUNK_ELEMENTS
    return _chunks(tokens, elements // logits_of_a_token)


def _joined(ctx, parts: list) -> RDropLoss:
    """The parts, each of some tokens, as one; only the loss has a gradient."""
    joined = RDropLoss(*map(torch.cat, zip(*parts)))
    ctx.mark_non_differentiable(joined.nll_loss, joined.kl_loss)
    return joined


def _refuse_second_derivatives() -> None:
    """Gradients are on while a backward pass runs only if that pass is itself to be derived."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the fused R-Drop loss has no second derivative: use the reference loss "
            "(--rdrop-loss reference) with create_graph=True"
        )


def _counted(target: Tensor, padding_idx: Optional[int]) -> Tensor:
    """Which targets count, ``(*)`` of bool."""
    if padding_idx is None:
        return torch.ones_like(target, dtype=torch.bool)
    return target.ne(padding_idx)


def _as_asked(per_token: RDropLoss, counted: Tensor, reduce: bool) -> RDropLoss:
    """Sums, or values laid out like the target with zeros on padding."""
    if reduce:
        return RDropLoss(*(values.sum() for values in per_token))
    zeros = per_token.loss.new_zeros(counted.shape)
    return RDropLoss(*(zeros.masked_scatter(counted, values) for values in per_token))
