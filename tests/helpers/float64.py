"""The fused loss against the reference in float64: random operands, and errors that are allowed."""

import torch

from helpers.constants import PAD
from rdrop_fairseq.losses.fused import fused_rdrop_loss, linear_rdrop_loss
from rdrop_fairseq.losses.reference import rdrop_loss

WANTED = ("loss", "features", "weight", "bias")


def reference_loss(features, weight, bias, target, *weighting, **options):
    logits = torch.nn.functional.linear(features, weight, bias)
    return rdrop_loss(logits, target, *weighting, **options)


def fused_from_logits(features, weight, bias, target, *weighting, **options):
    logits = torch.nn.functional.linear(features, weight, bias)
    return fused_rdrop_loss(logits, target, *weighting, **options)


def fused_in_small_chunks(*arguments, **options):
    return linear_rdrop_loss(*arguments, **options, chunk_size=3)


FUSED = (fused_from_logits, linear_rdrop_loss, fused_in_small_chunks)


def random_case(views=2, tokens=7, width=8, classes=11, bias=True, dtype=torch.float64, seed=0):
    """Operands of a projection and a target whose every fifth token is padding."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape, size=1.0):
        values = size * torch.randn(*shape, generator=generator, dtype=torch.float64)
        return values.to(dtype).requires_grad_()

    features, weight = normal(views, tokens, width, size=width**-0.5), normal(classes, width)
    target = torch.randint(2, classes, (tokens,), generator=generator)
    target[4::5] = PAD
    return features, weight, normal(classes) if bias else None, target


def results(loss_function, operands, target, alpha=5.0, epsilon=0.1, scale=1.0):
    """Loss and gradients in float64; ``scale`` is fp16 training's, taken out at the end."""
    total = loss_function(*operands, target, alpha, epsilon, PAD)
    wanted = [operand for operand in operands if operand is not None]
    gradients = torch.autograd.grad(total.loss * scale, wanted)
    names = [name for name, operand in zip(WANTED[1:], operands) if operand is not None]
    found = {name: g.double() / scale for name, g in zip(names, gradients)}
    return {"loss": total.loss.detach().double(), **found}


def gold_of(operands, target, *weighting):
    exact = [x if x is None else x.detach().double().requires_grad_() for x in operands]
    return results(reference_loss, exact, target, *weighting)


def assert_no_worse_than_the_reference(loss_function, case, *weighting, scale=1.0, dtype=None):
    """Elementwise: at most the reference's largest error, plus four roundings of such values.

    ``dtype`` is that of the products where it is not the operands'.
    """
    *operands, target = case
    rounding = torch.finfo(dtype or operands[0].dtype).eps
    rounding = max(rounding, 1e-14)  # in float64 the gold errs too
    gold = gold_of(operands, target, *weighting)
    reference = results(reference_loss, operands, target, *weighting, scale=scale)
    found = results(loss_function, operands, target, *weighting, scale=scale)
    for name, exact in gold.items():
        allowed = (reference[name] - exact).abs().max()
        tolerance = 4 * rounding * (exact.abs() + exact.abs().mean())
        excess = ((found[name] - exact).abs() - allowed - tolerance).max()
        assert excess <= 0, f"{name}: {excess:.2e} beyond the reference's {allowed:.2e}"
