"""What the backward passes of the fused loss share."""

import torch
from torch import Tensor


def refuse_second_derivatives() -> None:
    """Raise ``RuntimeError`` if the backward pass that runs is to be differentiated, too.

    Only then are gradients on in it.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "the fused R-Drop loss has no second derivative: use the reference loss "
            "(--rdrop-loss reference) with create_graph=True"
        )


def scaled(gradient: Tensor, factor: Tensor, dtype: torch.dtype) -> Tensor:
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
