"""The fused loss of features and projection, chunk by chunk, under autograd."""

from functools import partial
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from rdrop_fairseq.losses.backward import refuse_second_derivatives, scaled
from rdrop_fairseq.losses.chunks import blocks, slices
from rdrop_fairseq.losses.kernel import coefficients_like, loss_and_gradient_
from rdrop_fairseq.losses.plan import Plan, outcome_of, triton_kernel_for
from rdrop_fairseq.losses.products import Products, Scaled, products_for


class _Gradients(NamedTuple):
    """The gradients that are wanted, in float32 at least; ``None`` for what is not wanted."""

    rows: Optional[Tensor]  # (M, N, H), of the features of the tokens that count
    weight: Optional[Tensor]  # (V, H)
    bias: Optional[Tensor]  # (V,)


class RDropOfFeatures(torch.autograd.Function):
    """The fields of the loss from features ``(M, 1, *, H)`` and projection: sums or ``(1, *)``.

    The gradients of weight and bias are sums over tokens, so what ``forward`` made of them serves
    if every token's loss has the same factor, as after ``sum()``. If not, ``backward`` computes
    them again.
    """

    @staticmethod
    def forward(ctx, features, weight, bias, plan):
        operands = features, weight, bias
        ctx.plan = plan
        losses, gradients = _by_chunk(*operands, ctx.needs_input_grad, plan)
        ctx.save_for_backward(*operands, *gradients)
        return outcome_of(ctx, losses, plan)

    @staticmethod
    def backward(ctx, grad_loss, *_):
        refuse_second_derivatives()
        *operands, grad_rows, grad_weight, grad_bias = ctx.saved_tensors
        features, weight, bias = operands
        plan, factor = ctx.plan, grad_loss
        if not plan.reduce:
            of_tokens = grad_loss[plan.places]
            factor = of_tokens[:1].sum()  # 0 when no token counts
            if not of_tokens.eq(factor).all():
                again = _by_chunk(*operands, ctx.needs_input_grad, plan, token_factor=of_tokens)
                grad_rows, grad_weight, grad_bias = again[1]
                factor = torch.ones_like(factor)
        grad_features = None
        if grad_rows is not None:
            grad_features = torch.zeros_like(features)
            grad_features[plan.at_places] = scaled(grad_rows, factor, features.dtype)
        if grad_weight is not None:
            grad_weight = scaled(grad_weight, factor, weight.dtype)
        if grad_bias is not None:
            grad_bias = scaled(grad_bias, factor, bias.dtype)
        return grad_features, grad_weight, grad_bias, None


def _by_chunk(features, weight, bias, wanted: tuple, plan: Plan, token_factor=None) -> tuple:
    """Losses ``(3, N)`` of the tokens that count, and :class:`_Gradients`.

    Args:
        features: ``(M, 1, *, H)``.
        weight: ``(V, H)``.
        bias: ``(V,)`` or ``None``.
        wanted: of bool, whose gradients: of features, weight and bias.
        plan: what to compute.
        token_factor: ``(N,)``, what the loss of each token is multiplied by in the gradients.
    """
    rows = features[plan.at_places].to(plan.dtype).contiguous()  # chunks are written in place
    num_views, tokens, _ = rows.shape
    size = min(tokens, plan.chunk_size)
    products = products_for(plan.dtype, weight, num_views * size)
    gradients = _gradient_buffers(rows, weight, wanted)
    losses = rows.new_empty(3, tokens, dtype=torch.promote_types(plan.dtype, torch.float32))
    coefficients = coefficients_like(losses, *plan.terms)
    triton_kernel = triton_kernel_for(plan, losses.dtype)
    elementwise = partial(_in_triton, triton_kernel) if triton_kernel else _in_torch
    with torch.autocast(features.device.type, enabled=False):
        for chunk in slices(tokens, size):
            inputs = rows[:, chunk].flatten(0, 1)
            logits = products.logits(inputs)
            if bias is not None:
                logits += bias
            by_view = logits.view(num_views, -1, len(weight))
            factor = None if token_factor is None else token_factor[chunk]
            tokens_here = plan.target[chunk], coefficients, losses[:, chunk], factor
            gradient = elementwise(by_view, *tokens_here, products)
            _add_to(gradients, chunk, products, gradient, inputs)
            del logits, by_view, gradient  # or the next chunk is made before this one is gone
    return losses, gradients


def _gradient_buffers(rows: Tensor, weight: Tensor, wanted: tuple) -> _Gradients:
    """Where the gradients go; those of wide features take the place of the features."""
    dtype = torch.promote_types(rows.dtype, torch.float32)
    of_rows = rows if rows.dtype == dtype else torch.empty_like(rows, dtype=dtype)
    return _Gradients(
        of_rows if wanted[0] else None,
        torch.zeros_like(weight, dtype=dtype) if wanted[1] else None,
        weight.new_zeros(len(weight), dtype=dtype) if wanted[2] else None,
    )


def _in_torch(logits, target, coefficients, losses, token_factor, products: Products) -> Scaled:
    """The elementwise part of a chunk, block by block: ``losses`` ``(3, n)`` are filled.

    Args:
        logits: ``(M, n, V)``, overwritten.
        token_factor: ``(n,)`` or ``None``, what each token's gradient is multiplied by.

    Returns:
        The gradient, ``(M * n, V)``, in the type of the products.
    """
    for block in blocks(logits.size(1), len(logits) * logits.size(2), logits.device):
        of_block = loss_and_gradient_(logits[:, block], target[block], coefficients)
        losses[:, block] = torch.stack(of_block)
    if token_factor is not None:
        logits *= token_factor.unsqueeze(-1)
    return products.cast(logits.flatten(0, 1))


def _in_triton(module, logits, target, coefficients, losses, token_factor, products) -> Scaled:
    """The same in Triton."""
    losses[:], gradient = module.losses_and_gradient(
        logits, target, coefficients, products.weight.dtype, token_factor
    )
    return gradient._replace(values=gradient.values.flatten(0, 1))


def _add_to(
    gradients: _Gradients,
    chunk: slice,
    products: Products,
    of_logits: Scaled,
    inputs: Tensor,
) -> None:
    """Add the gradients of one chunk. The memory of the inputs may be overwritten."""
    if gradients.weight is not None:
        products.add_gradient_of_weight_(gradients.weight, of_logits, inputs)
    if gradients.bias is not None:
        gradients.bias.add_(products.gradient_of_bias(of_logits))
    if gradients.rows is not None:
        of_inputs = products.gradient_of_inputs(of_logits, inputs)
        of_rows = gradients.rows[:, chunk]
        if of_rows.data_ptr() != of_inputs.data_ptr():  # one view has them in the same memory
            of_rows.copy_(of_inputs.view(of_rows.shape))
