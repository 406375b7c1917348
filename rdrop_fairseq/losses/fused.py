"""R-Drop with its gradient in closed form: the numbers of ``reference.py``, faster and smaller.

``forward`` makes the gradient together with the loss, block by block, in the memory of the logits;
``backward`` only scales it. So nothing of the size of all logits is kept for ``backward``, and the
linear form, which makes the logits itself, never holds all of them at once.

Everything is *by view*: callers give ``(M, *, V)``; without the padding it is ``(M, N, V)``.

On a GPU the host waits for the device once, to learn how many tokens count. Only ``backward`` of
the unreduced loss waits again.

Not for ``torch.func``, ``vmap`` or ``torch.compile(fullgraph=True)``, since only the data tell how
many tokens count: the reference loss works there.
"""

from functools import partial
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from rdrop_fairseq.losses.chunks import blocks, slices, tokens_in_a_chunk
from rdrop_fairseq.losses.interface import RDropLoss, ViewWeights, check_arguments, padding_mask
from rdrop_fairseq.losses.kernel import loss_and_gradient_, objective_like
from rdrop_fairseq.losses.products import Products, Rounded, product_dtype, products_for
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
    """:func:`~rdrop_fairseq.losses.reference.rdrop_loss` that holds one tensor next to the logits.

    That tensor is their gradient, in float32 at least; ``backward`` makes another if it has to
    scale it or round it to half precision. ``kernel`` is that of :func:`linear_rdrop_loss`; the
    other arguments, result and errors are those of the reference; differentiating twice raises
    ``RuntimeError``.
    """
    weights = check_arguments(logits.shape, target, alpha, label_smoothing, weights)
    plan = _plan(target, padding_idx, (alpha, label_smoothing, weights), reduce, kernel)
    return _without_first_dimension(_RDropOfLogits.apply(logits.unsqueeze(1), plan), reduce)


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
    weights = check_arguments(shape, target, alpha, label_smoothing, weights)
    dtype = product_dtype(features, weight)
    size = chunk_size or tokens_in_a_chunk(
        len(features), *weight.shape, dtype, features.device, chunk_memory
    )
    objective = alpha, label_smoothing, weights
    plan = _plan(target, padding_idx, objective, reduce, kernel, size, dtype)
    outcome = _RDropOfFeatures.apply(features.unsqueeze(1), weight, bias, plan)
    return _without_first_dimension(outcome, reduce)


class _Plan(NamedTuple):
    """What to compute for which tokens, and how."""

    target: Tensor  # (N,), of the tokens that count
    places: tuple  # 1 + D index tensors (N,): where these stand in (1, *), D dimensions of a target
    mask: Tensor  # (1, *) of bool, true there
    objective: tuple  # alpha, label smoothing and the weights of the views
    reduce: bool
    kernel: str
    chunk_size: Optional[int] = None
    dtype: Optional[torch.dtype] = None  # of the products
    wanted: tuple = ()  # three of bool: the gradients of features, weight and bias

    @property
    def at_places(self) -> tuple:
        """The index of these tokens in ``(M, 1, *, ...)``."""
        return (slice(None), *self.places)


def _plan(target: Tensor, padding_idx: Optional[int], *others) -> _Plan:
    """Find the tokens that count; here the host waits for the device, and nowhere else."""
    target = target.unsqueeze(0)  # another dimension, for a target without any
    mask = padding_mask(target, padding_idx)
    places = mask.nonzero(as_tuple=True)
    return _Plan(target[places], places, mask, *others)


class _RDropOfLogits(torch.autograd.Function):
    """The three fields of the loss from logits ``(M, 1, *, V)``: sums or ``(1, *)``."""

    @staticmethod
    def forward(ctx, logits, plan):
        dtype = torch.promote_types(logits.dtype, torch.float32)
        objective = objective_like(logits.new_empty((), dtype=dtype), *plan.objective)
        gradient = torch.empty_like(logits, dtype=dtype) if ctx.needs_input_grad[0] else None
        losses = logits.new_empty(3, len(plan.target), dtype=dtype)
        triton_kernel = _triton_kernel(plan, dtype)
        in_place = triton_kernel.loss_and_gradient_ if triton_kernel else loss_and_gradient_
        for block in blocks(losses.size(1), len(logits) * logits.size(-1), logits.device):
            here = (slice(None), *(place[block] for place in plan.places))
            logits_here = logits[here].to(dtype)
            of_block = in_place(logits_here, plan.target[block], objective)
            losses[:, block] = torch.stack(of_block)
            if gradient is not None:
                gradient[here] = logits_here
        if gradient is not None:
            gradient.masked_fill_(~plan.mask.unsqueeze(-1), 0)
            ctx.save_for_backward(gradient)
        ctx.plan, ctx.dtype = plan, logits.dtype
        return _outcome(ctx, losses, plan)

    @staticmethod
    def backward(ctx, grad_loss, *_):
        _refuse_second_derivatives()
        (gradient,) = ctx.saved_tensors
        if not ctx.plan.reduce:
            grad_loss = grad_loss.masked_fill(~ctx.plan.mask, 0).unsqueeze(-1)
        return _scaled(gradient, grad_loss, ctx.dtype), None


class _Gradients(NamedTuple):
    """What a walk makes, in float32 at least; ``None`` for what is not wanted."""

    rows: Optional[Tensor]  # (M, N, H), of the features of the tokens that count
    weight: Optional[Tensor]  # (V, H)
    bias: Optional[Tensor]  # (V,)


class _RDropOfFeatures(torch.autograd.Function):
    """The fields of the loss from features ``(M, 1, *, H)`` and projection: sums or ``(1, *)``.

    The gradients of weight and bias are sums over tokens, so what ``forward`` made of them serves
    if every token's loss has the same factor, as after ``sum()``. If not, ``backward`` walks again.
    """

    @staticmethod
    def forward(ctx, features, weight, bias, plan):
        operands = features, weight, bias
        ctx.plan = plan._replace(wanted=ctx.needs_input_grad[:3])
        losses, gradients = _walk(*operands, ctx.plan)
        ctx.save_for_backward(*operands, *gradients)
        return _outcome(ctx, losses, plan)

    @staticmethod
    def backward(ctx, grad_loss, *_):
        _refuse_second_derivatives()
        *operands, grad_rows, grad_weight, grad_bias = ctx.saved_tensors
        features, weight, bias = operands
        plan, factor = ctx.plan, grad_loss
        if not plan.reduce:
            of_tokens = grad_loss[plan.places]
            factor = of_tokens[:1].sum()  # 0 when no token counts
            if not of_tokens.eq(factor).all():
                gradients = _walk(*operands, plan, token_factor=of_tokens)[1]
                grad_rows, grad_weight, grad_bias = gradients
                factor = torch.ones_like(factor)
        grad_features = None
        if grad_rows is not None:
            grad_features = torch.zeros_like(features)
            grad_features[plan.at_places] = _scaled(grad_rows, factor, features.dtype)
        if grad_weight is not None:
            grad_weight = _scaled(grad_weight, factor, weight.dtype)
        if grad_bias is not None:
            grad_bias = _scaled(grad_bias, factor, bias.dtype)
        return grad_features, grad_weight, grad_bias, None


def _walk(features, weight, bias, plan: _Plan, token_factor: Optional[Tensor] = None) -> tuple:
    """Losses ``(3, N)`` of the tokens that count, and :class:`_Gradients`.

    Args:
        features: ``(M, 1, *, H)``.
        weight: ``(V, H)``.
        bias: ``(V,)`` or ``None``.
        plan: what to compute.
        token_factor: ``(N,)``, what the loss of each token is multiplied by in the gradients.
    """
    rows = features[plan.at_places].to(plan.dtype).contiguous()  # chunks are written in place
    num_views, tokens, _ = rows.shape
    size = min(tokens, plan.chunk_size)
    products = products_for(plan.dtype, weight, num_views * size)
    gradients = _no_gradients(rows, weight, plan.wanted)
    losses = rows.new_empty(3, tokens, dtype=torch.promote_types(plan.dtype, torch.float32))
    objective = objective_like(losses, *plan.objective)
    triton_kernel = _triton_kernel(plan, losses.dtype)
    elementwise = partial(_in_triton, triton_kernel) if triton_kernel else _in_torch
    with torch.autocast(features.device.type, enabled=False):
        for chunk in slices(tokens, size):
            inputs = rows[:, chunk].flatten(0, 1)
            logits = products.logits(inputs)
            if bias is not None:
                logits += bias
            by_view = logits.view(num_views, -1, len(weight))
            factor = None if token_factor is None else token_factor[chunk]
            tokens_here = plan.target[chunk], objective, losses[:, chunk], factor
            gradient = elementwise(by_view, *tokens_here, products)
            _add_to(gradients, chunk, products, gradient, inputs)
    return losses, gradients


def _no_gradients(rows: Tensor, weight: Tensor, wanted: tuple) -> _Gradients:
    """Where a walk puts its gradients; those of wide features take the place of the features."""
    dtype = torch.promote_types(rows.dtype, torch.float32)
    of_rows = rows if rows.dtype == dtype else torch.empty_like(rows, dtype=dtype)
    return _Gradients(
        of_rows if wanted[0] else None,
        torch.zeros_like(weight, dtype=dtype) if wanted[1] else None,
        weight.new_zeros(len(weight), dtype=dtype) if wanted[2] else None,
    )


def _in_torch(logits, target, objective, losses, token_factor, products: Products) -> Rounded:
    """The elementwise part of a chunk, block by block: ``losses`` ``(3, n)`` are filled.

    Args:
        logits: ``(M, n, V)``, overwritten.
        token_factor: ``(n,)`` or ``None``, what each token's gradient is multiplied by.

    Returns:
        The gradient, ``(M * n, V)``, in the type of the products.
    """
    for block in blocks(logits.size(1), len(logits) * logits.size(2), logits.device):
        of_block = loss_and_gradient_(logits[:, block], target[block], objective)
        losses[:, block] = torch.stack(of_block)
    if token_factor is not None:
        logits *= token_factor.unsqueeze(-1)
    return products.rounded(logits.flatten(0, 1))


def _in_triton(module, logits, target, objective, losses, token_factor, products) -> Rounded:
    """The same in Triton."""
    losses[:], gradient = module.losses_and_gradient(
        logits, target, objective, products.weight.dtype, token_factor
    )
    return gradient._replace(values=gradient.values.flatten(0, 1))


def _triton_kernel(plan: _Plan, dtype: torch.dtype):
    """The module that is asked for, which needs Triton; ``None`` for plain PyTorch.

    It computes in float32 alone.
    """
    if plan.kernel != "triton" or dtype != torch.float32:
        return None
    from rdrop_fairseq.losses import triton_kernel

    return triton_kernel


def _add_to(
    gradients: _Gradients, chunk: slice, products: Products, of_logits: Rounded, inputs: Tensor
) -> None:
    """What one chunk gives to the gradients. The inputs have served then."""
    if gradients.weight is not None:
        products.add_gradient_of_weight_(gradients.weight, of_logits, inputs)
    if gradients.bias is not None:
        gradients.bias.add_(products.gradient_of_bias(of_logits))
    if gradients.rows is not None:
        of_inputs = products.gradient_of_inputs(of_logits, inputs)
        of_rows = gradients.rows[:, chunk]
        if of_rows.data_ptr() != of_inputs.data_ptr():  # one view has them in the same memory
            of_rows.copy_(of_inputs.view(of_rows.shape))


def _outcome(ctx, losses: Tensor, plan: _Plan) -> tuple:
    """Three sums of ``(3, N)``; or three ``(1, *)``, with zeros on padding."""
    if plan.reduce:
        loss, nll_loss, kl_loss = (values.sum() for values in losses)
    else:
        whole = losses.new_zeros(3, *plan.mask.shape)
        whole[plan.at_places] = losses
        loss, nll_loss, kl_loss = whole.unbind()
    ctx.mark_non_differentiable(nll_loss, kl_loss)
    return loss, nll_loss, kl_loss


def _without_first_dimension(outcome: tuple, reduce: bool) -> RDropLoss:
    return RDropLoss(*(outcome if reduce else (values.squeeze(0) for values in outcome)))


def _refuse_second_derivatives() -> None:
    """Gradients are on while a backward pass runs only if that pass is to be differentiated too."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the fused R-Drop loss has no second derivative: use the reference loss "
            "(--rdrop-loss reference) with create_graph=True"
        )


def _scaled(gradient: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
    """``gradient * factor``, rounded to ``dtype`` after the product, so that nothing underflows.

    In place only where no second backward pass will need the gradient as it is.
    """
    if gradient.dtype != dtype or _keeps_graph():
        return torch.mul(gradient, factor, out=torch.empty_like(gradient, dtype=dtype))
    return gradient if _is_known_to_be_one(factor) else gradient.mul_(factor)


def _is_known_to_be_one(factor: Tensor) -> bool:
    """Never on a GPU, which would have to be waited for."""
    return factor.device.type == "cpu" and bool(factor.eq(1).all())


def _keeps_graph() -> bool:
    """Whether the backward pass that runs was asked to retain its graph."""
    ask = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)
    return ask is None or ask()  # PyTorch 2.0 does not tell
