"""The fused loss against the reference in float64, in every form and precision."""

import pytest
import torch
from helpers.constants import PAD
from helpers.dropped_terms import DROPPED_TERMS, use_kernel
from helpers.float64 import (
    FUSED,
    WANTED,
    assert_no_worse_than_the_reference,
    gold_of,
    random_case,
    reference_loss,
    results,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.gradcheck import GradcheckError
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rdrop_fairseq.losses import chunks, of_logits
from rdrop_fairseq.losses.fused import fused_rdrop_loss, linear_rdrop_loss
from rdrop_fairseq.losses.interface import SIMCUT_WEIGHTS, rdrop_weights
from rdrop_fairseq.losses.reference import rdrop_loss


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 8, 11), (64, 32, 128), (37, 19, 1003)], ids=str)
@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("loss_function", FUSED)
def test_errs_no_more_than_the_reference(loss_function, bias, dtype, shape):
    tokens, width, classes = shape
    case = random_case(2, tokens, width, classes, bias, dtype)
    assert_no_worse_than_the_reference(loss_function, case)


@pytest.mark.parametrize("scale", [128.0, 1024.0])
@pytest.mark.parametrize("loss_function", FUSED)
def test_nothing_underflows_under_loss_scaling(loss_function, scale):
    """fairseq multiplies an fp16 loss: the gradient is scaled before it is rounded to half."""
    case = random_case(2, 16, 8, 4001, False, torch.float16)
    assert_no_worse_than_the_reference(loss_function, case, scale=scale)


@pytest.mark.parametrize("scale", [1.0, 128.0, 2.0**16])
def test_no_tiny_gradient_is_flushed_to_zero(scale):
    """Elementwise: one rounding to fp16 of the exact scaled gradient, and float32's noise."""
    features, weight, bias, target = random_case(2, 12, 16, 3001, True, torch.float16)
    exact = gold_of((features, weight, bias), target)
    logits = torch.nn.functional.linear(features, weight, bias).detach().requires_grad_()
    twin = logits.detach().double().requires_grad_()
    (exact["logits"],) = torch.autograd.grad(rdrop_loss(twin, target, 5.0, 0.1, PAD).loss, twin)
    total = linear_rdrop_loss(features, weight, bias, target, 5.0, 0.1, PAD).loss
    gradients = torch.autograd.grad(total * (scale / 64), (features, weight, bias))
    from_logits = fused_rdrop_loss(logits, target, 5.0, 0.1, PAD).loss * scale
    found = dict(zip(WANTED[1:], (gradient.double() * 64 for gradient in gradients)))
    found["logits"] = torch.autograd.grad(from_logits, logits)[0].double()
    half = torch.finfo(torch.float16)
    for name, values in found.items():
        scaled = exact[name] * scale
        divisor = 1 if name == "logits" else 64
        subnormal = divisor * half.smallest_normal * half.eps
        noise = 1e-5 * (scaled.abs() + scaled.abs().mean())
        rounding = 0.5 * (half.eps * scaled.abs() + subnormal)
        assert ((values - scaled).abs() <= rounding + noise).all(), name
        assert values[scaled.abs() > 2 * (subnormal + noise)].all(), name


def test_rounding_before_scaling_is_noticed(monkeypatch):
    monkeypatch.setattr(
        of_logits, "scaled", lambda g, factor, dtype: g.to(dtype) * factor.to(dtype)
    )
    with pytest.raises(AssertionError):
        test_no_tiny_gradient_is_flushed_to_zero(128.0)


@given(
    *(st.integers(2, 4), st.integers(1, 12), st.integers(1, 9), st.integers(3, 17)),
    *(st.floats(0, 20), st.floats(0, 0.9), st.integers(0, 999)),
)
@settings(max_examples=60, deadline=None, report_multiple_bugs=False)
def test_any_shape_views_alpha_and_smoothing(views, tokens, width, classes, alpha, epsilon, seed):
    *operands, target = random_case(views, tokens, width, classes, seed=seed)
    gold = gold_of(operands, target, alpha, epsilon)
    for loss_function in FUSED:
        found = results(loss_function, operands, target, alpha, epsilon)
        for name in WANTED:
            torch.testing.assert_close(found[name], gold[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss_function", FUSED)
def test_gradcheck(loss_function):
    *operands, target = random_case(tokens=4, width=3, classes=5)
    assert torch.autograd.gradcheck(
        lambda *x: loss_function(*x, target, 5.0, 0.1, PAD).loss, operands
    )


@pytest.mark.parametrize("loss_function", FUSED)
def test_every_field_and_the_unreduced_form(loss_function):
    *operands, target = random_case(tokens=6)
    grid = operands[0].unflatten(1, (2, 3)), *operands[1:], target.view(2, 3)
    for reduce in (True, False):
        found = loss_function(*grid, 5.0, 0.1, PAD, reduce=reduce)
        expected = reference_loss(*grid, 5.0, 0.1, PAD, reduce=reduce)
        for one, other in zip(found, expected):
            torch.testing.assert_close(one, other)
    factor = torch.rand(2, 3, dtype=torch.float64)
    gradients = [
        torch.autograd.grad((f(*grid, 5.0, 0.1, PAD, reduce=False).loss * factor).sum(), operands)
        for f in (loss_function, reference_loss)
    ]
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("loss_function", FUSED)
def test_all_padding(loss_function):
    *operands, target = random_case()
    total = loss_function(*operands, torch.full_like(target, PAD), 5.0, 0.1, PAD)
    assert total == (0, 0, 0)
    assert not any(g.any() for g in torch.autograd.grad(total.loss, operands))


@pytest.mark.parametrize("frozen", [{0}, {1}, {2}, {0, 1}, {0, 2}, {1, 2}], ids=str)
@pytest.mark.parametrize("loss_function", FUSED)
def test_frozen_operands_get_no_gradient_and_the_others_theirs(loss_function, frozen):
    """With equal upstream gradients, and with unequal ones, for which it walks again."""
    for factor in (torch.ones(7).double(), torch.arange(7).double()):
        *operands, target = random_case()
        exact = [x.detach().requires_grad_() for x in operands]
        for position in frozen:
            operands[position].requires_grad_(False)
        for f, given_operands in ((loss_function, operands), (reference_loss, exact)):
            each = f(*given_operands, target, 5.0, 0.1, PAD, reduce=False).loss
            (each * factor).sum().backward()
        for position, (operand, expected) in enumerate(zip(operands, exact)):
            if position in frozen:
                assert operand.grad is None
            else:
                torch.testing.assert_close(operand.grad, expected.grad)


@pytest.mark.parametrize("loss_function", FUSED)
def test_operands_that_are_not_contiguous(loss_function):
    """Views as neighbours, time before batch, a transposed weight, every other bias."""
    features, weight, bias, target = random_case(tokens=6)
    gold = gold_of((features, weight, bias), target)
    scattered = [
        features.detach().permute(2, 1, 0).contiguous().permute(2, 1, 0),
        weight.detach().t().contiguous().t(),
        bias.detach().repeat_interleave(2)[::2],
    ]
    assert not any(operand.is_contiguous() for operand in scattered)
    found = results(loss_function, [x.requires_grad_() for x in scattered], target)
    torch.testing.assert_close(found, gold)


@pytest.mark.parametrize("weight_dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weight_of_another_dtype_than_the_features(weight_dtype):
    features, weight, bias, target = random_case(tokens=20, classes=100, dtype=torch.float32)
    operands = features, *(x.detach().to(weight_dtype).requires_grad_() for x in (weight, bias))
    found, gold = results(linear_rdrop_loss, operands, target), gold_of(operands, target)
    rounding = max(torch.finfo(weight_dtype).eps, 1e-5)
    for name in WANTED:
        scale = rounding if name in ("weight", "bias") else 1e-5
        torch.testing.assert_close(found[name], gold[name], rtol=scale, atol=1e-5)


@pytest.mark.parametrize("loss_function", FUSED)
def test_blocks_and_chunks_of_one_token_change_nothing(monkeypatch, loss_function):
    *operands, target = random_case(views=3)
    monkeypatch.setattr(chunks, "CPU_BLOCK_ELEMENTS", 1)
    monkeypatch.setattr(chunks, "CPU_CHUNK_MIB", 0)
    found = results(loss_function, operands, target)
    torch.testing.assert_close(found, gold_of(operands, target))


def test_what_stands_on_padding_is_never_looked_at():
    features, weight, bias, target = random_case()
    padding = target.eq(PAD)
    gold = gold_of((features, weight, bias), target)
    with torch.no_grad():
        features[:, padding] = float("nan")
    found = results(linear_rdrop_loss, (features, weight, bias), target)
    torch.testing.assert_close(found, gold)
    logits = torch.nn.functional.linear(features, weight, bias).detach().requires_grad_()
    total = fused_rdrop_loss(logits, target, 5.0, 0.1, PAD).loss
    torch.testing.assert_close(total.detach(), gold["loss"])
    (gradient,) = torch.autograd.grad(total, logits)
    assert gradient.isfinite().all() and not gradient[:, padding].any()


@pytest.mark.parametrize("chunk_size", [2, 100])
def test_one_view_has_the_numbers_of_cross_entropy_in_chunks_too(chunk_size):
    """As the sentences without a second view have under ``--rdrop-share``."""
    features, weight, bias, target = random_case(views=1)
    of_one = rdrop_weights(2).of_one_view()
    arguments = (target, 0.0, 0.1, PAD, True, of_one)
    found = linear_rdrop_loss(features, weight, bias, *arguments, chunk_size=chunk_size).loss
    expected = reference_loss(features, weight, bias, *arguments).loss
    torch.testing.assert_close(found, expected)
    both = (torch.autograd.grad(x, [features, weight, bias]) for x in (found, expected))
    torch.testing.assert_close(*both)


class NewTensors(TorchDispatchMode):
    """Elements of every tensor that comes into being, in order."""

    def __init__(self, *known):
        super().__init__()
        self.seen = {x.untyped_storage()._cdata: x.untyped_storage() for x in known}
        self.sizes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.seen:
                    self.sizes.append(storage.nbytes() // tensor.element_size())
                self.seen[storage._cdata] = storage  # kept, so that no address comes twice
        return result


@pytest.mark.parametrize("factor", [torch.ones(64), torch.arange(64.0)], ids=["sum", "weighted"])
def test_the_linear_form_never_holds_all_logits(factor):
    features, weight, _, target = random_case(2, 64, 8, 500, False, torch.float32)
    with NewTensors(features, weight, target) as made:
        each = linear_rdrop_loss(
            *(features, weight, None, target, 5.0, 0.1, PAD), reduce=False, chunk_size=4
        )
        (each.loss * factor).sum().backward()
    assert max(made.sizes) == weight.numel() == 2 * 4 * 500  # a chunk's logits, and the weight's
    assert features.grad is not None and weight.grad is not None


def test_the_logits_form_makes_one_tensor_of_their_size(monkeypatch):
    monkeypatch.setattr(chunks, "CPU_BLOCK_ELEMENTS", 2 * 4 * 500)
    *operands, target = random_case(2, 64, 8, 500, False, torch.float32)
    logits = torch.nn.functional.linear(*operands[:2]).detach().requires_grad_()
    with NewTensors(logits, target) as made:
        gradient = torch.autograd.grad(fused_rdrop_loss(logits, target).loss, logits)
    del gradient
    large = [size for size in made.sizes if size > 2 * 4 * 500]
    assert large == [logits.numel()]


def test_without_gradients_the_loss_is_the_same():
    *operands, target = random_case()
    with torch.no_grad():
        for loss_function in FUSED:
            total = loss_function(*operands, target, 5.0, 0.1, PAD)
            torch.testing.assert_close(total, reference_loss(*operands, target, 5.0, 0.1, PAD))


def test_a_tied_projection_gets_both_gradients():
    features, weight, _, target = random_case(classes=11)
    tokens = torch.arange(7).expand(2, 7)
    for loss_function in (linear_rdrop_loss, reference_loss):
        embedded = torch.nn.functional.embedding(tokens, weight) * features.detach()
        loss_function(embedded, weight, None, target, 5.0, 0.1, PAD).loss.backward()
        if loss_function is linear_rdrop_loss:
            found, weight.grad = weight.grad, None
    torch.testing.assert_close(found, weight.grad)


def test_autocast_does_not_round_the_logits():
    *operands, target = random_case(dtype=torch.float32, tokens=50, classes=500)
    gold = results(linear_rdrop_loss, operands, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = results(linear_rdrop_loss, operands, target)
    for name in WANTED:
        assert torch.equal(found[name], gold[name])


def test_autocast_rounds_nothing_of_given_logits():
    logits, target = torch.randn(3, 50, 500), torch.randint(2, 500, (50,))
    found = []
    for enabled in (False, True):
        logits = logits.detach().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = fused_rdrop_loss(logits, target, 5.0, 0.1, PAD).loss
        loss.backward()
        found.append((loss.detach(), logits.grad))
    for plain, under_autocast in zip(*found):
        assert torch.equal(plain, under_autocast)


def test_half_precision_products_are_kept_in_float32():
    """Logits rounded to half give the KL's gradient errors that the linear form does not make."""
    views = torch.randn(1, 200, 64).expand(2, -1, -1) + 0.02 * torch.randn(2, 200, 64)
    features = views.to(torch.bfloat16).requires_grad_()
    weight = torch.randn(500, 64).to(torch.bfloat16).requires_grad_()
    case = (features, weight, None, torch.randint(2, 500, (200,)))
    gold = gold_of(case[:3], case[3])
    error = {}
    for loss_function in (reference_loss, linear_rdrop_loss):
        found = results(loss_function, case[:3], case[3])
        error[loss_function] = (found["loss"] - gold["loss"]).abs()
    assert error[linear_rdrop_loss] < 0.01 * error[reference_loss]


@pytest.mark.parametrize("loss_function", FUSED)
def test_a_second_backward_pass_adds_the_same_again(loss_function):
    *operands, target = random_case()
    loss = loss_function(*operands, target, 5.0, 0.1, PAD).loss
    loss.backward(retain_graph=True)
    once = [operand.grad.clone() for operand in operands]
    loss.backward()
    torch.testing.assert_close([operand.grad for operand in operands], [2 * g for g in once])


@pytest.mark.parametrize("loss_function", FUSED)
def test_a_gradient_that_is_changed_in_place_does_not_change_the_next(loss_function):
    *operands, target = random_case()
    loss = loss_function(*operands, target, 5.0, 0.1, PAD).loss
    gradients = torch.autograd.grad(loss, operands, retain_graph=True)
    kept = [gradient.clone() for gradient in gradients]
    for gradient in gradients:
        gradient.zero_()
    torch.testing.assert_close(list(torch.autograd.grad(loss, operands)), kept)


def test_logits_gradient_that_is_changed_in_place_does_not_change_the_next():
    *operands, target = random_case()
    logits = torch.nn.functional.linear(*operands).detach().requires_grad_()
    loss = fused_rdrop_loss(logits, target, 5.0, 0.1, PAD).loss
    (gradient,) = torch.autograd.grad(loss, logits, retain_graph=True)
    kept = gradient.clone()
    gradient.zero_()
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], kept)


@pytest.mark.parametrize("shape", [(), (1,), (10,), (11, 1)])
def test_a_bias_of_another_shape_is_refused(shape):
    features, weight, _, target = random_case()
    with pytest.raises(ValueError, match="a bias of shape .* does not fit a projection"):
        linear_rdrop_loss(features, weight, torch.zeros(shape).double(), target)


@pytest.mark.parametrize("loss_function", FUSED)
def test_a_target_without_dimensions(loss_function):
    features, weight, bias, target = random_case(tokens=1)
    found = loss_function(features[:, 0], weight, bias, target[0], 5.0, 0.1, PAD, reduce=False)
    torch.testing.assert_close(
        found, reference_loss(features[:, 0], weight, bias, target[0], 5.0, 0.1, PAD, reduce=False)
    )


@pytest.mark.parametrize("loss_function", FUSED)
def test_second_derivatives_are_refused_not_wrong(loss_function):
    *operands, target = random_case()
    loss = loss_function(*operands, target, 5.0, 0.1, PAD).loss
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, operands, create_graph=True)


@pytest.mark.parametrize("loss_function", FUSED)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_huge_logits_and_identical_views_give_no_nan(loss_function, size):
    features, weight, bias, target = random_case(dtype=torch.float32)
    same = features.detach()[:1].expand(2, -1, -1)
    for views in (features * size, same * size):
        total = loss_function(views, weight, bias, target, 5.0, 0.1, PAD)
        assert all(value.isfinite() for value in total)
    assert total.kl_loss == 0


@pytest.mark.parametrize("loss_function", FUSED)
@pytest.mark.parametrize("view", [0, 1])
@pytest.mark.parametrize("weights", [rdrop_weights(2), SIMCUT_WEIGHTS], ids=["R-Drop", "SimCut"])
def test_a_nan_is_not_hidden(loss_function, view, weights):
    *operands, target = random_case()
    with torch.no_grad():
        operands[0][view, 1, 0] = float("nan")
    total = loss_function(*operands, target, 5.0, 0.1, PAD, weights=weights)
    assert total.loss.isnan() and total.kl_loss.isnan()
    assert total.nll_loss.isnan() == (weights.nll_weights()[view] > 0)


def test_errors_are_those_of_the_reference():
    features, weight, bias, target = random_case()
    with pytest.raises(ValueError, match="do not fit a projection"):
        linear_rdrop_loss(features, weight[:, :5], bias, target)
    with pytest.raises(ValueError, match="chunk size"):
        linear_rdrop_loss(features, weight, bias, target, chunk_size=0)
    for loss_function in FUSED:
        with pytest.raises(ValueError, match="--reg-alpha"):
            loss_function(features, weight, bias, target, alpha=-1.0)
        with pytest.raises(ValueError, match="do not fit"):
            loss_function(features, weight, bias, target[:3])


@pytest.mark.parametrize("broken", DROPPED_TERMS)
@pytest.mark.parametrize("loss_function", FUSED)
@pytest.mark.parametrize(
    "check",
    [
        lambda f: test_errs_no_more_than_the_reference(f, True, torch.float64, (64, 32, 128)),
        lambda f: test_errs_no_more_than_the_reference(f, True, torch.float32, (64, 32, 128)),
        lambda f: test_errs_no_more_than_the_reference(f, True, torch.bfloat16, (64, 32, 128)),
        lambda f: test_errs_no_more_than_the_reference(f, True, torch.float16, (64, 32, 128)),
        lambda f: test_nothing_underflows_under_loss_scaling(f, 128.0),
        lambda f: test_no_tiny_gradient_is_flushed_to_zero(128.0),
        lambda f: test_gradcheck(f),
        lambda f: test_frozen_operands_get_no_gradient_and_the_others_theirs(f, {1}),
        lambda f: test_operands_that_are_not_contiguous(f),
        lambda f: test_every_field_and_the_unreduced_form(f),
        lambda f: test_any_shape_views_alpha_and_smoothing(),
    ],
    ids=[
        *("float64", "float32", "bfloat16", "float16", "scaled", "tiny", "gradcheck", "frozen"),
        *("scattered", "unreduced", "hypothesis"),
    ],
)
def test_the_tests_notice_a_dropped_term(monkeypatch, check, loss_function, broken):
    use_kernel(monkeypatch, broken)
    with pytest.raises((AssertionError, GradcheckError)):
        check(loss_function)
