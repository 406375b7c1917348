"""The fused loss against the reference in float64, in every form and precision."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.gradcheck import GradcheckError

from rdrop_fairseq.losses import fused
from rdrop_fairseq.losses.fused import fused_rdrop_loss, linear_rdrop_loss
from rdrop_fairseq.losses.reference import rdrop_loss

PAD = 1
WANTED = ("loss", "features", "weight", "bias")


def reference_loss(features, weight, bias, target, *objective, **options):
    logits = torch.nn.functional.linear(features, weight, bias)
    return rdrop_loss(logits, target, *objective, **options)


def fused_from_logits(features, weight, bias, target, *objective, **options):
    logits = torch.nn.functional.linear(features, weight, bias)
    return fused_rdrop_loss(logits, target, *objective, **options)


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


def gold_of(operands, target, *objective):
    exact = [x if x is None else x.detach().double().requires_grad_() for x in operands]
    return results(reference_loss, exact, target, *objective)


def assert_no_worse_than_the_reference(loss_function, case, *objective, scale=1.0):
    """Elementwise: at most the reference's largest error, plus four roundings of such values."""
    *operands, target = case
    rounding = max(torch.finfo(operands[0].dtype).eps, 1e-14)  # in float64 the gold errs too
    gold = gold_of(operands, target, *objective)
    reference = results(reference_loss, operands, target, *objective, scale=scale)
    found = results(loss_function, operands, target, *objective, scale=scale)
    for name, exact in gold.items():
        allowed = (reference[name] - exact).abs().max()
        tolerance = 4 * rounding * (exact.abs() + exact.abs().mean())
        excess = ((found[name] - exact).abs() - allowed - tolerance).max()
        assert excess <= 0, f"{name}: {excess:.2e} beyond the reference's {allowed:.2e}"


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


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_frozen_operands_get_no_gradient_and_the_others_theirs(frozen):
    *operands, target = random_case()
    gold = gold_of(operands, target)
    operands[frozen].requires_grad_(False)
    linear_rdrop_loss(*operands, target, 5.0, 0.1, PAD).loss.backward()
    for position, (name, operand) in enumerate(zip(WANTED[1:], operands)):
        if position == frozen:
            assert operand.grad is None
        else:
            torch.testing.assert_close(operand.grad, gold[name])


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


def test_a_nan_is_not_hidden():
    features, weight, bias, target = random_case()
    with torch.no_grad():
        features[0, 1, 0] = float("nan")
    for loss_function in FUSED:
        assert loss_function(features, weight, bias, target, 5.0, 0.1, PAD).loss.isnan()


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


def without_p_minus_q(logits, target, objective):
    """The gradient without the ``M p_i - sum_j p_j`` of the KL."""
    probs = logits.softmax(-1)
    result = EXACT(logits, target, objective)
    coefficient = objective.alpha / (probs.size(1) * (probs.size(1) - 1))
    logits -= coefficient * (probs.size(1) * probs - probs.sum(1, keepdim=True))
    return result


def without_smoothing(logits, target, objective):
    """The gradient without label smoothing."""
    result = EXACT(logits.clone(), target, objective)
    EXACT(logits, target, objective._replace(label_smoothing=0.0))
    return result


EXACT = fused.loss_and_gradient_


@pytest.mark.parametrize("broken", [without_p_minus_q, without_smoothing])
@pytest.mark.parametrize("loss_function", FUSED)
@pytest.mark.parametrize(
    "check",
    [
        lambda f: test_errs_no_more_than_the_reference(f, True, torch.float32, (64, 32, 128)),
        lambda f: test_errs_no_more_than_the_reference(f, True, torch.bfloat16, (64, 32, 128)),
        lambda f: test_errs_no_more_than_the_reference(f, True, torch.float16, (64, 32, 128)),
        lambda f: test_nothing_underflows_under_loss_scaling(f, 128.0),
        lambda f: test_gradcheck(f),
        lambda f: test_every_field_and_the_unreduced_form(f),
        lambda f: test_any_shape_views_alpha_and_smoothing(),
    ],
    ids=["float32", "bfloat16", "float16", "scaled", "gradcheck", "unreduced", "hypothesis"],
)
def test_the_tests_notice_a_dropped_term(monkeypatch, check, loss_function, broken):
    monkeypatch.setattr(fused, "loss_and_gradient_", broken)
    with pytest.raises((AssertionError, GradcheckError)):
        check(loss_function)
