"""The Triton kernel against the reference in float64, in Triton's interpreter."""

import importlib.util

import pytest
import torch
from helpers.constants import PAD

from rdrop_fairseq.losses import kernel
from rdrop_fairseq.losses.fused import fused_rdrop_loss, linear_rdrop_loss
from rdrop_fairseq.losses.interface import SIMCUT_WEIGHTS, ViewWeights, rdrop_weights
from rdrop_fairseq.losses.reference import rdrop_loss

if importlib.util.find_spec("triton") is None:
    pytest.skip("Triton is missing: pip install '.[triton]'", allow_module_level=True)
from rdrop_fairseq.losses import triton_kernel  # noqa: E402

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
INFINITY = float("inf")
UNEVEN = ViewWeights((1.0, 0.0, 0.5), ((0, 0.2, 0.0), (0.7, 0, 0.1), (0.3, 0.4, 0)))
WEIGHTS = {"two": rdrop_weights(2), "three": rdrop_weights(3), "five": rdrop_weights(5)}
WEIGHTS.update(simcut=SIMCUT_WEIGHTS, uneven=UNEVEN)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Several tiles for few classes."""
    monkeypatch.setattr(triton_kernel, "BLOCK", 64)


def random_logits(views, tokens, classes, size=1.0):
    generator = torch.Generator().manual_seed(0)
    logits = size * torch.randn(views, tokens, classes, generator=generator)
    return logits.to(DEVICE), torch.randint(classes, (tokens,), generator=generator).to(DEVICE)


def of_kernel(logits, target, alpha, epsilon, weights, dtype=torch.float32, factor=None):
    """Losses and gradient in float64."""
    coefficients = kernel.coefficients_like(logits, alpha, epsilon, weights)
    losses, gradient = triton_kernel.losses_and_gradient(
        logits.clone(), target, coefficients, dtype, factor
    )
    assert gradient.values.dtype == dtype
    inverse_scale = 1 if gradient.inverse_scale is None else gradient.inverse_scale.double()
    return losses.double(), gradient.values.double() * inverse_scale


def of_reference(logits, target, alpha, epsilon, weights, factor=None):
    logits = logits.double().requires_grad_()
    each = rdrop_loss(logits, target, alpha, epsilon, reduce=False, weights=weights)
    factor = torch.ones_like(each.loss) if factor is None else factor.double()
    (gradient,) = torch.autograd.grad((each.loss * factor).sum(), logits)
    return torch.stack(each).detach(), gradient


def assert_close(found, expected, rounding=2.0**-20):
    for one, other in zip(found, expected):
        size = other.abs().mean().clamp(min=1e-6)
        torch.testing.assert_close(one, other, rtol=4 * rounding, atol=float(4 * rounding * size))


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("alpha, epsilon", [(5.0, 0.1), (0.0, 0.1), (2.0, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("classes", [2, 64, 65, 203])
def test_agrees_with_float64(classes, alpha, epsilon, weights):
    weights = WEIGHTS[weights]
    case = *random_logits(len(weights.cross_entropy), 3, classes), alpha, epsilon, weights
    assert_close(of_kernel(*case), of_reference(*case))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_rounds_the_gradient_once(dtype, views, scale):
    factor = torch.tensor([1.0, 3.0, 0.0, 0.25], device=DEVICE) * scale
    case = *random_logits(views, 4, 200), 5.0, 0.1, rdrop_weights(views)
    (_, found), (_, exact) = of_kernel(*case, dtype, factor), of_reference(*case, factor)
    smallest = scale * 2.0**-24  # where the scale leaves a gradient subnormal
    torch.testing.assert_close(found, exact, rtol=torch.finfo(dtype).eps, atol=smallest)
    assert found.isfinite().all()


@pytest.mark.parametrize("size", [30.0, 1e3, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_extreme_logits(size, dtype):
    case = *random_logits(2, 5, 130, size), 5.0, 0.1, rdrop_weights(2)
    (losses, found), (exact_losses, exact) = of_kernel(*case, dtype), of_reference(*case)
    assert found.isfinite().all()
    torch.testing.assert_close(losses, exact_losses, rtol=1e-4, atol=1e-4)
    of_logits = size * torch.finfo(torch.float32).eps  # e^z has the rounding of z
    error = (found - exact).abs().max() / exact.abs().max()
    assert error < 8 * max(of_logits, torch.finfo(dtype).eps)


def test_an_offset_of_the_logits_changes_nothing():
    logits, target = random_logits(2, 4, 100)
    rest = target, 5.0, 0.0, rdrop_weights(2)
    shifted = (logits * 64).round() / 64 + torch.tensor([1e4, -1e4], device=DEVICE).view(2, 1, 1)
    plain = (logits * 64).round() / 64
    assert_close(of_kernel(shifted, *rest), of_reference(plain, *rest), 1e-3)


def test_identical_views_have_no_kl():
    logits, target = random_logits(1, 4, 100, 1e4)
    losses, _ = of_kernel(logits.expand(2, -1, -1).contiguous(), target, 5.0, 0.1, rdrop_weights(2))
    assert not losses[2].any() and losses.isfinite().all()


@pytest.mark.parametrize("alpha", [0.0, 5.0])
@pytest.mark.parametrize("weights", ["two", "three", "simcut"])
def test_classes_that_every_view_excludes_count_for_nothing(alpha, weights):
    weights = WEIGHTS[weights]
    logits, _ = random_logits(len(weights.cross_entropy), 4, 200)
    logits[:, 0, 0] = logits[:, 1, :64] = logits[:, 2, 64:] = logits[:, 3, 1:] = -INFINITY
    target = torch.tensor([1, 100, 5, 0], device=DEVICE)
    case = logits, target, alpha, 0.0, weights
    assert_close(of_kernel(*case), of_reference(*case))


@pytest.mark.parametrize("weights", ["two", "simcut"])
def test_a_class_that_one_view_excludes_makes_the_kl_infinite(weights):
    logits, target = random_logits(2, 3, 70)
    logits[1, 1, 5] = -INFINITY
    target[1] = 0
    found, exact = (
        f(logits, target, 5.0, 0.0, WEIGHTS[weights])[0] for f in (of_kernel, of_reference)
    )
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-5)
    assert found[2, 1] == INFINITY


@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("weights", ["two", "simcut"])
def test_a_nan_is_not_hidden(weights, view):
    logits, target = random_logits(2, 3, 70)
    logits[view, 1, 66] = float("nan")
    losses, gradient = of_kernel(logits, target, 5.0, 0.1, WEIGHTS[weights])
    assert losses[[0, 2], 1].isnan().all() and gradient[view, 1].isnan().all()
    assert losses[:, [0, 2]].isfinite().all() and gradient[:, [0, 2]].isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("reduce", [True, False])
def test_both_forms_of_the_loss_with_padding(dtype, reduce):
    torch.manual_seed(0)
    features = torch.randn(2, 3, 4, 8, device=DEVICE).to(dtype).requires_grad_()
    weight = torch.randn(70, 8, device=DEVICE).to(dtype).requires_grad_()
    target = torch.randint(2, 70, (3, 4), device=DEVICE)
    target[1:, 2:] = PAD
    factor = torch.rand(3, 4, device=DEVICE) if not reduce else 1.0

    def results(kernel):
        options = {"reduce": reduce, "kernel": kernel}
        arguments = target, 5.0, 0.1, PAD
        logits = torch.nn.functional.linear(features, weight)
        for total in (
            linear_rdrop_loss(features, weight, None, *arguments, **options),
            fused_rdrop_loss(logits, *arguments, **options),
        ):
            loss = (total.loss * factor).sum()
            yield [*total, *torch.autograd.grad(loss, (features, weight))]

    rounding = max(torch.finfo(dtype).eps, 1e-5)
    for found, expected in zip(results("triton"), results("torch")):
        torch.testing.assert_close(found, expected, rtol=4 * rounding, atol=4 * rounding)


def test_a_dropped_term_is_noticed(monkeypatch):
    exact = kernel.coefficients_like

    def without_a_direction(logits, *arguments):
        coefficients = exact(logits, *arguments)
        return coefficients._replace(kl=coefficients.kl.triu())

    monkeypatch.setattr(kernel, "coefficients_like", without_a_direction)
    with pytest.raises(AssertionError):
        test_agrees_with_float64(65, 5.0, 0.1, "two")
