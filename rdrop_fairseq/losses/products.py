"""The three matrix products of a head: the logits, and from their gradient those of both operands.

In half precision where that is faster, else in float32 at least.
"""

import math
from typing import NamedTuple, Optional

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)
LARGEST_ROUNDED = 2.0**15
"""What the largest element of a gradient is scaled to, at most, before it becomes float16."""

FEWEST_TERMS = 256
"""A sum in float16 has room for at least so many elements as large as the largest."""


class Scaled(NamedTuple):
    """The gradient of the logits as the products take it."""

    values: Tensor  # (R, V)
    inverse_scale: Optional[Tensor] = None
    """A power of two, ``()``, that ``values`` still have to be multiplied by."""


class Products:
    """In float32 at least: half-precision operands are widened before they are multiplied.

    What is a gradient here takes the place of what it was made of, where that has served.
    """

    def __init__(self, dtype: torch.dtype, weight: Tensor, most_rows: int):
        self.weight = weight.to(dtype)
        self._logits = self.weight.new_empty(most_rows, len(weight))

    def logits(self, inputs: Tensor) -> Tensor:
        """``(R, V)``, in float32 at least, from inputs ``(R, H)``; valid until the next call."""
        return torch.mm(inputs, self.weight.t(), out=self._logits[: len(inputs)])

    def cast(self, gradient: Tensor) -> Scaled:
        """The gradient ``(R, V)`` in the type of the products."""
        return Scaled(gradient)

    def add_gradient_of_weight_(self, total: Tensor, gradient: Scaled, inputs: Tensor) -> None:
        """Add to ``total``, ``(V, H)``."""
        total.addmm_(gradient.values.t(), inputs)

    def gradient_of_bias(self, gradient: Scaled) -> Tensor:
        """``(V,)``."""
        return gradient.values.sum(0)

    def gradient_of_inputs(self, gradient: Scaled, inputs: Tensor) -> Tensor:
        """``(R, H)``, in the memory of the inputs."""
        return torch.mm(gradient.values, self.weight, out=inputs)


class HalfProducts(Products):
    """Of half-precision operands as they are, accumulated and added up over chunks in float32."""

    def __init__(self, dtype: torch.dtype, weight: Tensor, most_rows: int):
        self.weight = weight.to(dtype)

    def logits(self, inputs: Tensor) -> Tensor:
        return wide_product(inputs, self.weight.t())

    def cast(self, gradient: Tensor) -> Scaled:
        dtype = self.weight.dtype
        if dtype == torch.bfloat16:  # its range is that of float32
            return Scaled(gradient.to(dtype))
        scale = scale_for_float16(torch.linalg.vector_norm(gradient, math.inf), len(gradient))
        values = torch.mul(gradient, scale, out=torch.empty_like(gradient, dtype=dtype))
        return Scaled(values, 1 / scale)

    def add_gradient_of_weight_(self, total: Tensor, gradient: Scaled, inputs: Tensor) -> None:
        product = wide_product(gradient.values.t(), inputs)
        if gradient.inverse_scale is None:
            total.add_(product)
        else:
            total.addcmul_(product, gradient.inverse_scale)

    def gradient_of_bias(self, gradient: Scaled) -> Tensor:
        total = gradient.values.sum(0, dtype=torch.float32)
        return total if gradient.inverse_scale is None else total.mul_(gradient.inverse_scale)

    def gradient_of_inputs(self, gradient: Scaled, inputs: Tensor) -> Tensor:
        """``(R, H)``, in float32."""
        product = wide_product(gradient.values, self.weight)
        return product if gradient.inverse_scale is None else product.mul_(gradient.inverse_scale)


class HalfGradientProducts(HalfProducts):
    """For a CPU, which rounds every half-precision product: the logits are made in float32."""

    def __init__(self, dtype: torch.dtype, weight: Tensor, most_rows: int):
        super().__init__(dtype, weight, most_rows)
        self._of_logits = Products(torch.float32, weight, most_rows)

    def logits(self, inputs: Tensor) -> Tensor:
        return self._of_logits.logits(inputs.float())


def wide_product(one: Tensor, other: Tensor) -> Tensor:
    """The product of half-precision matrices in float32, of a half-precision one where need be."""
    if has_wide_output(one):
        return torch.mm(one, other, out_dtype=torch.float32)
    return torch.mm(one, other).float()


def has_wide_output(operand: Tensor) -> bool:
    """Whether ``out_dtype`` works: on CUDA alone, since PyTorch 2.8."""
    is_cuda = operand.is_cuda and torch.version.cuda is not None
    return is_cuda and hasattr(torch.ops.aten.mm, "dtype")


def scale_for_float16(largest: Tensor, rows: int) -> Tensor:
    """The power of two that a gradient is multiplied by before it is rounded to float16.

    It takes the largest element just below float16's largest number, so that few elements are
    subnormal there. Where products are rounded to float16 as well it leaves them room to add up
    over rows or classes. It is made on the device, and nobody waits for it.

    Args:
        largest: the largest absolute value, a float32 tensor without dimensions.
        rows: of the gradient.
    """
    terms = 1 if has_wide_output(largest) else max(rows, FEWEST_TERMS)
    limit = LARGEST_ROUNDED / terms
    exponent_bits = 0x7F800000  # of a float32: without the others the power of two at or below it
    scale = ((limit / largest).view(torch.int32) & exponent_bits).view(torch.float32)
    return scale.clamp(max=2.0**40)  # finite for a gradient of zeros


def product_dtype(features: Tensor, weight: Tensor) -> torch.dtype:
    """The type in which the products of these operands are made.

    On CUDA it is the operands' own, or autocast's, as in every other layer.
    """
    device, types = features.device.type, {features.dtype, weight.dtype}
    autocast = autocast_dtype(device)
    if autocast is not None and torch.float64 not in types:
        own = autocast
    else:
        own = features.dtype if len(types) == 1 else None
    if own in HALF and half_is_faster(device, own, under_autocast=autocast is not None):
        return own
    return torch.promote_types(features.dtype, torch.float32)


def half_is_faster(device: str, dtype: torch.dtype, under_autocast: bool) -> bool:
    """Whether a device multiplies faster in half precision.

    On a CPU, measured: bfloat16 2.2 times faster where it has instructions for that, float16 5 to
    80 times slower. Nor does a CPU round under autocast what was given in float32.
    """
    if device == "cpu":
        has_instructions = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return dtype == torch.bfloat16 and not under_autocast and has_instructions()
    return device == "cuda"


def autocast_dtype(device: str) -> Optional[torch.dtype]:
    """The type that autocast multiplies in on a device; ``None`` where it is off."""
    if hasattr(torch, "get_autocast_dtype"):  # since PyTorch 2.4
        return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    if device != "cuda" or not torch.is_autocast_enabled():
        return None
    return torch.get_autocast_gpu_dtype()


def products_for(dtype: torch.dtype, weight: Tensor, most_rows: int) -> Products:
    """The products with a weight ``(V, H)``, of at most so many rows at a time."""
    half = HalfProducts if weight.is_cuda else HalfGradientProducts
    return (half if dtype in HALF else Products)(dtype, weight, most_rows)
