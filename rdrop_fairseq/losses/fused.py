"""R-Drop with its gradient in closed form: the numbers of ``reference.py``, faster and smaller.

``forward`` makes the gradient together with the loss, block by block, in the memory of the logits;
``backward`` only scales it. So nothing of the size of all logits is kept for ``backward``, and the
linear form, which knows how the logits come about, never holds all of them at once.
"""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from rdrop_fairseq.losses.reference import RDropLoss, check_loss_arguments, label_smoothed

# How many logits the linear form makes at a time. On a CPU, measured: fewer slow the matrix
# products down, more only cost memory (this is 64 MiB in float32). On a GPU, not measured: more,
# since every operation costs a launch.
CPU_CHUNK_ELEMENTS, GPU_CHUNK_ELEMENTS = 2**24, 2**26
# How many of them the elementwise part takes at a time on a CPU: few enough to stay in its cache.
CPU_BLOCK_ELEMENTS = 2**18


class Objective(NamedTuple):
    """The two numbers that weigh the parts of the loss."""

    alpha: float
    label_smoothing: float


def fused_rdrop_loss(
    logits: Tensor,
    target: Tensor,
    alpha: float = 5.0,
    label_smoothing: float = 0.0,
    padding_idx: Optional[int] = None,
    reduce: bool = True,
) -> RDropLoss:
    """:func:`~rdrop_fairseq.losses.reference.rdrop_loss` that holds one tensor beside the logits.

    That tensor is their gradient, in float32 at least; ``backward`` makes another if it has to
    scale it or round it to half precision. Arguments, result and errors are those of the reference;
    differentiating twice raises ``RuntimeError``.
    """
    check_loss_arguments(logits, target, alpha, label_smoothing)
    counted = _counted(target, padding_idx)
    objective = Objective(alpha, label_smoothing)
    return _as_asked(_RDropOfLogits.apply(logits, target, counted, objective), counted, reduce)


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

    It walks over chunks of target tokens. For each it computes the logits of every view, the loss
    and the gradients of features, weight and bias, in float32 at least whatever the operands are;
    padding is left out before the projection. Beside the operands it holds one copy of the
    features, the gradients of weight and bias, and the logits of one chunk.

    Args:
        features: ``(M, *, H)``, what the decoder gives to its output projection in each view.
        weight: ``(V, H)``, the output projection.
        bias: ``(V,)`` or ``None``.
        chunk_size: target tokens in a chunk; by default as many as make 2**24 logits, or 2**26 on
            a GPU.

    The other arguments, the result and the errors are those of
    :func:`~rdrop_fairseq.losses.reference.rdrop_loss`; differentiating twice raises
    ``RuntimeError``.
    """
    if weight.dim() != 2 or features.shape[-1:] != weight.shape[1:]:
        raise ValueError(
            f"features of shape {tuple(features.shape)} do not fit a projection of shape "
            f"{tuple(weight.shape)}: give features (views, *target shape, H) and weight (V, H)"
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk size must be 1 target token or more, not {chunk_size}")
    no_logits = features.new_empty(()).expand(*features.shape[:-1], len(weight))  # only a shape
    check_loss_arguments(no_logits, target, alpha, label_smoothing)
    counted = _counted(target, padding_idx)
    objective = Objective(alpha, label_smoothing)
    per_token = _RDropOfFeatures.apply(
        features, weight, bias, target, counted, objective, chunk_size
    )
    return _as_asked(per_token, counted, reduce)


# The gradient. One token has M views with logits z_i; p_i = softmax(z_i), l_i = log p_i, and t is
# the smoothed distribution of the target. Let u_i = l_i - mean_j l_j. Because
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
def loss_and_gradient_(logits: Tensor, target: Tensor, objective: Objective) -> RDropLoss:
    """Turn logits into the gradient of the loss with respect to them, and return the loss.

    Args:
        logits: ``(K, M, V)``, float32 or float64; overwritten with the gradient.
        target: ``(K,)``.
        objective: alpha and label smoothing.

    Returns:
        :class:`RDropLoss` of three ``(K,)``.
    """
    views, classes = logits.shape[1:]
    share = objective.label_smoothing / (classes - 1)
    kl_weight = objective.alpha / (views - 1)
    index = target.view(-1, 1, 1).expand(-1, views, 1)

    log_probs = logits.log_softmax(-1)
    probs = log_probs.exp()
    nll = -log_probs.gather(-1, index).squeeze(-1)
    smoothed = label_smoothed(nll, -log_probs.sum(-1), objective.label_smoothing, classes)

    excess = log_probs.sub_(log_probs.sum(1, keepdim=True), alpha=1 / views)
    mean_excess = torch.mul(probs, excess, out=logits).sum(-1)
    kl = mean_excess.sum(1).div(views - 1).clamp(min=0)  # rounding may fall below zero

    row_factor = (1 + kl_weight - kl_weight * mean_excess).unsqueeze(-1)
    factor = torch.add(row_factor, excess, alpha=kl_weight, out=logits)
    common = probs.sum(1, keepdim=True).mul_(-kl_weight / views).sub_(share)
    torch.addcmul(common, probs, factor, out=logits)
    on_target = logits.new_full((), objective.label_smoothing + share - 1).expand(index.shape)
    logits.scatter_add_(-1, index, on_target)
    return RDropLoss(smoothed.sum(1) + objective.alpha * kl, nll.mean(1), kl)


class _RDropOfLogits(torch.autograd.Function):
    """Losses of the counted tokens, three ``(N,)``, from logits ``(M, *, V)``."""

    @staticmethod
    def forward(ctx, logits, target, counted, objective):
        dtype = torch.promote_types(logits.dtype, torch.float32)
        tokens = logits.movedim(0, -2).unsqueeze(0)  # a leading dimension, for a target without any
        target, counted = target.unsqueeze(0), counted.unsqueeze(0)
        gradient = torch.empty_like(tokens, dtype=dtype) if ctx.needs_input_grad[0] else None
        places = counted.nonzero(as_tuple=True)
        losses = logits.new_empty(3, len(places[0]), dtype=dtype)
        for block in _blocks(losses.size(1), tokens.shape[-2:].numel(), logits.device):
            here = tuple(place[block] for place in places)
            logits_here = tokens[here].to(dtype)
            losses[:, block] = torch.stack(loss_and_gradient_(logits_here, target[here], objective))
            if gradient is not None:
                gradient[here] = logits_here
        if gradient is not None:
            gradient[~counted] = 0
            ctx.save_for_backward(gradient.squeeze(0), counted.squeeze(0))
        ctx.dtype = logits.dtype
        return _only_loss_differentiable(ctx, losses)

    @staticmethod
    def backward(ctx, grad_loss, *_):
        _refuse_second_derivatives()
        gradient, counted = ctx.saved_tensors
        factor = grad_loss.new_zeros(counted.shape).masked_scatter_(counted, grad_loss)
        gradient = _scaled(gradient, factor[..., None, None], ctx.dtype)
        return gradient.movedim(-2, 0), None, None, None


class _RDropOfFeatures(torch.autograd.Function):
    """Losses of the counted tokens, three ``(N,)``, from features ``(M, *, H)`` and projection.

    The gradients of weight and bias are sums over tokens, so what ``forward`` made of them serves
    if every token's loss has the same factor, as after ``sum()``. If not, ``backward`` walks again.
    """

    @staticmethod
    def forward(ctx, features, weight, bias, target, counted, objective, chunk_size):
        operands = features, weight, bias, target, counted
        ctx.settings = objective, chunk_size, ctx.needs_input_grad[:3]
        losses, gradients = _walk(*operands, *ctx.settings)
        ctx.save_for_backward(*operands, *gradients)
        return _only_loss_differentiable(ctx, losses)

    @staticmethod
    def backward(ctx, grad_loss, *_):
        _refuse_second_derivatives()
        *operands, grad_rows, grad_weight, grad_bias = ctx.saved_tensors
        features, weight, bias, _, counted = operands
        factor = grad_loss[:1].sum()  # 0 when no token counts
        if not grad_loss.eq(factor).all():
            gradients = _walk(*operands, *ctx.settings, token_factor=grad_loss)[1]
            grad_rows, grad_weight, grad_bias = gradients
            factor = torch.ones_like(factor)
        grad_features = None
        if grad_rows is not None:
            grad_features = torch.zeros_like(features)
            grad_features.movedim(0, -2)[counted] = _scaled(grad_rows, factor, features.dtype)
        if grad_weight is not None:
            grad_weight = _scaled(grad_weight, factor, weight.dtype)
        if grad_bias is not None:
            grad_bias = _scaled(grad_bias, factor, bias.dtype)
        return grad_features, grad_weight, grad_bias, None, None, None, None


def _walk(
    features, weight, bias, target, counted, objective, chunk_size, wanted, token_factor=None
):
    """Losses ``(3, N)`` of the counted tokens, and the wanted ones of three gradients.

    These are of the counted features ``(N, M, H)``, of the weight and of the bias, in float32 at
    least. Half-precision operands are widened before they are multiplied, autocast or not, so that
    neither logits nor gradients are ever rounded to half precision here.
    """
    dtype = torch.promote_types(features.dtype, torch.float32)
    rows = features.movedim(0, -2)[counted].to(dtype).contiguous()  # chunks are written in place
    target, weight = target[counted], weight.to(dtype)
    tokens, views, width = rows.shape
    classes = len(weight)
    grad_rows = rows if wanted[0] else None
    grad_weight = torch.zeros_like(weight) if wanted[1] else None
    grad_bias = weight.new_zeros(classes) if wanted[2] else None
    losses = rows.new_empty(3, tokens)
    size = min(tokens, chunk_size or _default_chunk_size(views * classes, features.device))
    buffer = rows.new_empty(size * views, classes)
    with torch.autocast(features.device.type, enabled=False):
        for chunk in _slices(tokens, size):
            inputs = rows[chunk].flatten(0, 1)
            logits = torch.mm(inputs, weight.t(), out=buffer[: len(inputs)])
            if bias is not None:
                logits += bias
            of_tokens = logits.view(-1, views, classes)
            for block in _blocks(len(of_tokens), views * classes, logits.device):
                losses[:, chunk][:, block] = torch.stack(
                    loss_and_gradient_(of_tokens[block], target[chunk][block], objective)
                )
            if token_factor is not None:
                of_tokens *= token_factor[chunk].view(-1, 1, 1)
            if grad_weight is not None:
                grad_weight.addmm_(logits.t(), inputs)
            if grad_bias is not None:
                grad_bias += logits.sum(0)
            if grad_rows is not None:
                torch.mm(logits, weight, out=inputs)  # the features of this chunk have served
    return losses, (grad_rows, grad_weight, grad_bias)


def _default_chunk_size(logits_of_a_token: int, device: torch.device) -> int:
    elements = CPU_CHUNK_ELEMENTS if device.type == "cpu" else GPU_CHUNK_ELEMENTS
    return max(1, elements // logits_of_a_token)


def _slices(tokens: int, size: int) -> list:
    """Slices over the tokens, at most ``size`` long and of nearly equal length."""
    count = -(-tokens // max(size, 1))
    bounds = [tokens * number // count for number in range(count + 1)] if count else []
    return [slice(start, end) for start, end in zip(bounds, bounds[1:])]


def _blocks(tokens: int, logits_of_a_token: int, device: torch.device) -> list:
    """Slices for the elementwise part: cache-sized on a CPU, chunk-sized elsewhere."""
    elements = CPU_BLOCK_ELEMENTS if device.type == "cpu" else GPU_CHUNK_ELEMENTS
    return _slices(tokens, elements // logits_of_a_token)


def _only_loss_differentiable(ctx, losses: Tensor) -> tuple:
    loss, nll_loss, kl_loss = losses.unbind()
    ctx.mark_non_differentiable(nll_loss, kl_loss)
    return loss, nll_loss, kl_loss


def _refuse_second_derivatives() -> None:
    """Gradients are on while a backward pass runs only if that pass is itself to be derived."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the fused R-Drop loss has no second derivative: use the reference loss "
            "(--rdrop-loss reference) with create_graph=True"
        )


def _scaled(gradient: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """``gradient * factor``, rounded to ``dtype`` after the product, so that nothing underflows."""
    if gradient.dtype == dtype and factor.eq(1).all():
        return gradient
    return torch.mul(gradient, factor, out=torch.empty_like(gradient, dtype=dtype))


def _counted(target: Tensor, padding_idx: Optional[int]) -> Tensor:
    """Which targets count, ``(*)`` of bool."""
    if padding_idx is None:
        return torch.ones_like(target, dtype=torch.bool)
    return target.ne(padding_idx)


def _as_asked(per_token: tuple, counted: Tensor, reduce: bool) -> RDropLoss:
    """Sums, or values laid out like the target with zeros on padding."""
    if reduce:
        return RDropLoss(*(values.sum() for values in per_token))
    zeros = per_token[0].new_zeros(counted.shape)
    return RDropLoss(*(zeros.masked_scatter(counted, values) for values in per_token))
