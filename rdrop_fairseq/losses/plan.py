"""Which tokens count, what is computed for them, and how the values go back to their places."""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from rdrop_fairseq.losses.interface import is_counted


class Plan(NamedTuple):
    """What to compute for which tokens, and how."""

    target: Tensor  # (N,), of the tokens that count
    places: tuple  # 1 + D index tensors (N,): where these stand in (1, *), D dimensions of a target
    mask: Tensor  # (1, *) of bool, true there
    terms: tuple  # alpha, label smoothing and the weights of the views
    reduce: bool
    kernel: str
    chunk_size: Optional[int] = None
    dtype: Optional[torch.dtype] = None  # of the products

    @property
    def at_places(self) -> tuple:
        """The index of these tokens in ``(M, 1, *, ...)``."""
        return (slice(None), *self.places)


def make_plan(target: Tensor, padding_idx: Optional[int], **others) -> Plan:
    """Find the tokens of a target ``(*)`` that count, for which the host waits for the device.

    ``others`` are the other fields of :class:`Plan`.
    """
    target = target.unsqueeze(0)  # another dimension, for a target without any
    mask = is_counted(target, padding_idx)
    places = mask.nonzero(as_tuple=True)
    return Plan(target[places], places, mask, **others)


def triton_kernel_for(plan: Plan, dtype: torch.dtype):
    """The module that is asked for, which needs Triton; ``None`` for plain PyTorch.

    It computes in float32 alone.
    """
    if plan.kernel != "triton" or dtype != torch.float32:
        return None
    from rdrop_fairseq.losses import triton_kernel

    return triton_kernel


def outcome_of(ctx, losses: Tensor, plan: Plan) -> tuple:
    """Three sums of ``(3, N)``; or three ``(1, *)``, with zeros on padding."""
    if plan.reduce:
        loss, nll_loss, kl_loss = (values.sum() for values in losses)
    else:
        whole = losses.new_zeros(3, *plan.mask.shape)
        whole[plan.at_places] = losses
        loss, nll_loss, kl_loss = whole.unbind()
    ctx.mark_non_differentiable(nll_loss, kl_loss)
    return loss, nll_loss, kl_loss
