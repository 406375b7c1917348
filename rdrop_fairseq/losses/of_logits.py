"""The fused loss of logits that the model has made, under autograd."""

import torch

from rdrop_fairseq.losses.backward import refuse_second_derivatives, scaled
from rdrop_fairseq.losses.chunks import blocks
from rdrop_fairseq.losses.kernel import coefficients_like, loss_and_gradient_
from rdrop_fairseq.losses.plan import outcome_of, triton_kernel_for


class RDropOfLogits(torch.autograd.Function):
    """The three fields of the loss from logits ``(M, 1, *, V)``: sums or ``(1, *)``."""

    @staticmethod
    def forward(ctx, logits, plan):
        dtype = torch.promote_types(logits.dtype, torch.float32)
        coefficients = coefficients_like(logits.new_empty((), dtype=dtype), *plan.terms)
        gradient = torch.empty_like(logits, dtype=dtype) if ctx.needs_input_grad[0] else None
        losses = logits.new_empty(3, len(plan.target), dtype=dtype)
        triton_kernel = triton_kernel_for(plan, dtype)
        in_place = triton_kernel.loss_and_gradient_ if triton_kernel else loss_and_gradient_
        for block in blocks(losses.size(1), len(logits) * logits.size(-1), logits.device):
            here = (slice(None), *(place[block] for place in plan.places))
            logits_here = logits[here].to(dtype)
            of_block = in_place(logits_here, plan.target[block], coefficients)
            losses[:, block] = torch.stack(of_block)
            if gradient is not None:
                gradient[here] = logits_here
        if gradient is not None:
            gradient.masked_fill_(~plan.mask.unsqueeze(-1), 0)
            ctx.save_for_backward(gradient)
        ctx.plan, ctx.dtype = plan, logits.dtype
        return outcome_of(ctx, losses, plan)

    @staticmethod
    def backward(ctx, grad_loss, *_):
        refuse_second_derivatives()
        (gradient,) = ctx.saved_tensors
        if not ctx.plan.reduce:
            grad_loss = grad_loss.masked_fill(~ctx.plan.mask, 0).unsqueeze(-1)
        return scaled(gradient, grad_loss, ctx.dtype), None
