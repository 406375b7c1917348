"""R-Drop with its gradient in closed form: the numbers of ``reference.py``, faster and smaller.

``forward`` makes the gradient together with the loss, block by block, in the memory of the logits;
``backward`` only scales it. So nothing of the size of all logits is kept for ``backward``, and the
linear form, which makes the logits itself, never holds all of them at once.

Everything is *by view*: callers give ``(M, *, V)``; without the padding it is ``(M, N, V)``.

Not for ``torch.func``, ``vmap`` or ``torch.compile(fullgraph=True)``, since only the data tell how
many tokens count: the reference loss works there.
"""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from rdrop_fairseq.losses.interface import RDropLoss, ViewWeights, check_arguments, padding_mask
from rdrop_fairseq.losses.kernel import loss_and_gradient_, objective_like
from rdrop_fairseq.options import RDROP_CHUNK_SIZE, REG_ALPHA

# How many logits the linear form makes at a time. On a CPU, measured: fewer slow the matrix
# products down, more only cost memory (this is 64 MiB in float32). On a GPU, not measured: more,
# since every operation costs a launch.
CPU_CHUNK_ELEMENTS, GPU_CHUNK_ELEMENTS = 2**24, 2**26
# How many of them the elementwise part takes at a time on a CPU: few enough to stay in its cache.
CPU_BLOCK_ELEMENTS = 2**18


def fused_rdrop_loss(
    logits: Tensor,
    target: Tensor,
    alpha: float = REG_ALPHA.default,
    label_smoothing: float = 0.0,
    padding_idx: Optional[int] = None,
    reduce: bool = True,
    weights: Optional[ViewWeights] = None,
) -> RDropLoss:
    """:func:`~rdrop_fairseq.losses.reference.rdrop_loss` that holds one tensor next to the logits.

    That tensor is their gradient, in float32 at least; ``backward`` makes another if it has to
    scale it or round it to half precision. Arguments, result and errors are those of the reference;
    differentiating twice raises ``RuntimeError``.
    """
    weights = check_arguments(logits.shape, target, alpha, label_smoothing, weights)
    mask = padding_mask(target, padding_idx)
    plan = _Plan((alpha, label_smoothing, weights))
    per_token = _RDropOfLogits.apply(logits, target, mask, plan)
    return _reduced(per_token, mask, reduce)


def linear_rdrop_loss(
    features: Tensor,
    weight: Tensor,
    bias: Optional[Tensor],
    target: Tensor,
    alpha: float = REG_ALPHA.default,
    label_smoothing: float = 0.0,
    padding_idx: Optional[int] = None,
    reduce: bool = True,
    weights: Optional[ViewWeights] = None,
    chunk_size: Optional[int] = None,
) -> RDropLoss:
    """R-Drop of ``logits = features @ weight.T + bias`` that never holds all the logits.

    It walks over chunks of target tokens. For each it computes the logits of every view, the loss
    and the gradients of features, weight and bias, in float32 at least whatever the operands are;
    padding is left out before the projection. Next to the operands it holds one copy of the
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
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"a bias of shape {tuple(bias.shape)} does not fit a projection of shape "
            f"{tuple(weight.shape)}: give ({len(weight)},)"
        )
    RDROP_CHUNK_SIZE.check(chunk_size)
    shape = torch.Size((*features.shape[:-1], len(weight)))
    weights = check_arguments(shape, target, alpha, label_smoothing, weights)
    mask = padding_mask(target, padding_idx)
    plan = _Plan((alpha, label_smoothing, weights), chunk_size)
    return _reduced(
        _RDropOfFeatures.apply(features, weight, bias, target, mask, plan), mask, reduce
    )


class _Plan(NamedTuple):
    """What to compute, how to walk over the tokens, and for which gradients."""

    objective: tuple  # alpha, label smoothing and the weights of the views
    chunk_size: Optional[int] = None
    wanted: tuple = ()  # three of bool: the gradients of features, weight and bias


class _RDropOfLogits(torch.autograd.Function):
    """Losses of the tokens that count, three ``(N,)``, from logits ``(M, *, V)``."""

    @staticmethod
    def forward(ctx, logits, target, mask, plan):
        dtype = torch.promote_types(logits.dtype, torch.float32)
        objective = objective_like(logits.new_empty((), dtype=dtype), *plan.objective)
        tokens = logits.unsqueeze(1)  # another dimension, for a target without any
        target, mask = target.unsqueeze(0), mask.unsqueeze(0)
        gradient = torch.empty_like(tokens, dtype=dtype) if ctx.needs_input_grad[0] else None
        places = mask.nonzero(as_tuple=True)
        losses = logits.new_empty(3, len(places[0]), dtype=dtype)
        for block in _blocks(losses.size(1), len(logits) * logits.size(-1), logits.device):
            here = tuple(place[block] for place in places)
            logits_here = tokens[(slice(None), *here)].to(dtype)
            losses[:, block] = torch.stack(loss_and_gradient_(logits_here, target[here], objective))
            if gradient is not None:
                gradient[(slice(None), *here)] = logits_here
        if gradient is not None:
            gradient[:, ~mask] = 0
            ctx.save_for_backward(gradient.squeeze(1), mask.squeeze(0))
        ctx.dtype = logits.dtype
        return _only_loss_differentiable(ctx, losses)

    @staticmethod
    def backward(ctx, grad_loss, *_):
        _refuse_second_derivatives()
        gradient, mask = ctx.saved_tensors
        factor = grad_loss.new_zeros(mask.shape).masked_scatter_(mask, grad_loss)
        return _scaled(gradient, factor.unsqueeze(-1), ctx.dtype), None, None, None


class _Gradients(NamedTuple):
    """What a walk makes, in float32 at least; ``None`` for what is not wanted."""

    rows: Optional[Tensor]  # (M, N, H), of the features of the tokens that count
    weight: Optional[Tensor]  # (V, H)
    bias: Optional[Tensor]  # (V,)


class _RDropOfFeatures(torch.autograd.Function):
    """Losses of the tokens that count, three ``(N,)``, from features ``(M, *, H)`` and projection.

    The gradients of weight and bias are sums over tokens, so what ``forward`` made of them serves
    if every token's loss has the same factor, as after ``sum()``. If not, ``backward`` walks again.
    """

    @staticmethod
    def forward(ctx, features, weight, bias, target, mask, plan):
        operands = features, weight, bias, target, mask
        ctx.plan = plan._replace(wanted=ctx.needs_input_grad[:3])
        losses, gradients = _walk(operands, ctx.plan)
        ctx.save_for_backward(*operands, *gradients)
        return _only_loss_differentiable(ctx, losses)

    @staticmethod
    def backward(ctx, grad_loss, *_):
        _refuse_second_derivatives()
        *operands, grad_rows, grad_weight, grad_bias = ctx.saved_tensors
        features, weight, bias, _, mask = operands
        factor = grad_loss[:1].sum()  # 0 when no token counts
        if not grad_loss.eq(factor).all():
            gradients = _walk(operands, ctx.plan, token_factor=grad_loss)[1]
            grad_rows, grad_weight, grad_bias = gradients
            factor = torch.ones_like(factor)
        grad_features = None
        if grad_rows is not None:
            grad_features = torch.zeros_like(features)
            grad_features[:, mask] = _scaled(grad_rows, factor, features.dtype)
        if grad_weight is not None:
            grad_weight = _scaled(grad_weight, factor, weight.dtype)
        if grad_bias is not None:
            grad_bias = _scaled(grad_bias, factor, bias.dtype)
        return grad_features, grad_weight, grad_bias, None, None, None


def _walk(operands: tuple, plan: _Plan, token_factor: Optional[Tensor] = None) -> tuple:
    """Losses ``(3, N)`` of the tokens that count, and :class:`_Gradients`.

    Half-precision operands are widened before they are multiplied, autocast or not, so that neither
    logits nor gradients are ever rounded to half precision here.

    Args:
        operands: features, weight, bias, target and mask.
        token_factor: ``(N,)``, what the loss of each token is multiplied by in the gradients.
    """
    features, weight, bias, target, mask = operands
    dtype = torch.promote_types(features.dtype, torch.float32)
    rows = features[:, mask].to(dtype).contiguous()  # chunks are written in place
    target, weight = target[mask], weight.to(dtype)
    objective = objective_like(rows, *plan.objective)
    gradients = _no_gradients(rows, weight, plan.wanted)
    num_views, tokens, _ = rows.shape
    losses = rows.new_empty(3, tokens)
    size = min(tokens, plan.chunk_size or _chunk_size(num_views * len(weight), rows.device))
    buffer = rows.new_empty(num_views * size, len(weight))
    with torch.autocast(features.device.type, enabled=False):
        for chunk in _slices(tokens, size):
            inputs = rows[:, chunk].flatten(0, 1)
            logits = torch.mm(inputs, weight.t(), out=buffer[: len(inputs)])
            if bias is not None:
                logits += bias
            by_view = logits.view(num_views, -1, len(weight))
            _losses_and_gradient_(by_view, target[chunk], objective, losses[:, chunk])
            if token_factor is not None:
                by_view *= token_factor[chunk].unsqueeze(-1)
            _add_to(gradients, logits, inputs)
            if gradients.rows is not None:
                grad_inputs = torch.mm(logits, weight, out=inputs)  # the features have served
                rows[:, chunk] = grad_inputs.view(num_views, -1, weight.size(1))
    return losses, gradients


def _no_gradients(rows: Tensor, weight: Tensor, wanted: tuple) -> _Gradients:
    """Where a walk puts its gradients: those of the features take the place of the features."""
    return _Gradients(
        rows if wanted[0] else None,
        torch.zeros_like(weight) if wanted[1] else None,
        weight.new_zeros(len(weight)) if wanted[2] else None,
    )


def _losses_and_gradient_(logits: Tensor, target: Tensor, objective, losses: Tensor) -> None:
    """The kernel, block by block: logits ``(M, n, V)`` become gradient, ``losses`` is filled."""
    for block in _blocks(logits.size(1), len(logits) * logits.size(2), logits.device):
        of_block = loss_and_gradient_(logits[:, block], target[block], objective)
        losses[:, block] = torch.stack(of_block)


def _add_to(gradients: _Gradients, grad_logits: Tensor, inputs: Tensor) -> None:
    """What one chunk gives to the gradients of weight and bias."""
    if gradients.weight is not None:
        gradients.weight.addmm_(grad_logits.t(), inputs)
    if gradients.bias is not None:
        gradients.bias.add_(grad_logits.sum(0))


def _chunk_size(logits_per_token: int, device: torch.device) -> int:
    elements = CPU_CHUNK_ELEMENTS if device.type == "cpu" else GPU_CHUNK_ELEMENTS
    return max(1, elements // logits_per_token)


def _blocks(tokens: int, logits_per_token: int, device: torch.device) -> list:
    """Slices for the elementwise part: cache-sized on a CPU, chunk-sized elsewhere."""
    elements = CPU_BLOCK_ELEMENTS if device.type == "cpu" else GPU_CHUNK_ELEMENTS
    return _slices(tokens, elements // logits_per_token)


def _slices(tokens: int, size: int) -> list:
    """Slices over the tokens, at most ``size`` long and of nearly equal length."""
    count = -(-tokens // max(size, 1))
    bounds = [tokens * number // count for number in range(count + 1)] if count else []
    return [slice(start, end) for start, end in zip(bounds, bounds[1:])]


def _only_loss_differentiable(ctx, losses: Tensor) -> tuple:
    loss, nll_loss, kl_loss = losses.unbind()
    ctx.mark_non_differentiable(nll_loss, kl_loss)
    return loss, nll_loss, kl_loss


def _refuse_second_derivatives() -> None:
    """Gradients are on while a backward pass runs only if that pass is to be differentiated too."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the fused R-Drop loss has no second derivative: use the reference loss "
            "(--rdrop-loss reference) with create_graph=True"
        )


def _scaled(gradient: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """``gradient * factor``, rounded to ``dtype`` after the product, so that nothing underflows.

    The gradient itself only where no second backward pass will need it as it is.
    """
    if gradient.dtype == dtype and not _keeps_graph() and factor.eq(1).all():
        return gradient
    return torch.mul(gradient, factor, out=torch.empty_like(gradient, dtype=dtype))


def _keeps_graph() -> bool:
    """Whether the backward pass that runs was asked to retain its graph."""
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return ask is None or ask()  # PyTorch 2.0 does not tell


def _reduced(per_token: tuple, mask: Tensor, reduce: bool) -> RDropLoss:
    """Sums of three ``(N,)``; or three tensors shaped like the mask, with zeros on padding."""
    if reduce:
        return RDropLoss(*(values.sum() for values in per_token))
    zeros = per_token[0].new_zeros(mask.shape)
    return RDropLoss(*(zeros.masked_scatter(mask, values) for values in per_token))
