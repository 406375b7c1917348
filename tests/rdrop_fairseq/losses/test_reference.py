"""The reference loss against the definitions, in float64."""

from functools import partial

import pytest
import torch
from helpers import launch
from helpers.constants import PAD
from helpers.dropped_terms import DROPPED_TERMS, use_kernel
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Categorical, kl_divergence

from rdrop_fairseq.losses import reference
from rdrop_fairseq.losses.fused import fused_rdrop_loss
from rdrop_fairseq.losses.interface import (
    SIMCUT_WEIGHTS,
    ViewWeights,
    rdrop_weights,
)
from rdrop_fairseq.losses.reference import rdrop_loss


def random_case(tokens=7, classes=11, views=2, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(views, tokens, classes, generator=generator, dtype=torch.float64)
    target = torch.randint(2, classes, (tokens,), generator=generator)
    return logits.to(dtype).requires_grad_(), target


def loss_from_the_definitions(logits, target, alpha, epsilon):
    """KL as torch.distributions defines it, cross-entropy against the smoothed distribution."""
    views, tokens, classes = logits.shape
    smoothed = torch.full((tokens, classes), epsilon / (classes - 1), dtype=logits.dtype)
    smoothed[torch.arange(tokens), target] = 1 - epsilon
    entropies = [
        torch.nn.functional.cross_entropy(view, smoothed, reduction="sum") for view in logits
    ]
    ordered = [(a, b) for a in range(views) for b in range(views) if a != b]
    kl = sum(
        kl_divergence(Categorical(logits=logits[a]), Categorical(logits=logits[b])).sum()
        for a, b in ordered
    ) / len(ordered)
    return sum(entropies) + alpha * kl, kl


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 5.0])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.6])
def test_loss_and_gradient_follow_from_the_definitions(views, alpha, epsilon):
    logits, target = random_case(views=views)
    total = rdrop_loss(logits, target, alpha, epsilon)
    expected, expected_kl = loss_from_the_definitions(logits, target, alpha, epsilon)
    torch.testing.assert_close(total.loss, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(total.kl_loss, expected_kl.detach(), rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(total.loss, logits)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-12)


def test_gradient_is_the_closed_form():
    """DESIGN: (p - t) + alpha/2 [p (d - sum p d) + (p - q)], d = log p - log q."""
    alpha, epsilon = 5.0, 0.1
    logits, target = random_case()
    rdrop_loss(logits, target, alpha, epsilon).loss.backward()
    log_p, log_q = torch.log_softmax(logits.detach(), -1)
    for own, other, row in ((log_p, log_q, 0), (log_q, log_p, 1)):
        p, q, d = own.exp(), other.exp(), own - other
        smoothed = torch.full_like(p, epsilon / (p.size(-1) - 1))
        smoothed.scatter_(-1, target.unsqueeze(-1), 1 - epsilon)
        kl_part = p * (d - (p * d).sum(-1, keepdim=True)) + (p - q)
        closed_form = p - smoothed + alpha / 2 * kl_part
        torch.testing.assert_close(logits.grad[row], closed_form, rtol=1e-10, atol=1e-12)


def kl_without_p_minus_q(log_probs, weights):
    """The right value, with a gradient that lacks the KL's ``p - q``."""
    p, q = log_probs.exp()
    return ((p - q) * (log_probs[0] - log_probs[1]).detach()).sum(-1) / 2


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("weighted_kl", kl_without_p_minus_q),
        ("label_smoothed", lambda nll, negative_sum, epsilon, classes: nll),
    ],
)
@pytest.mark.parametrize(
    "check",
    [
        partial(test_loss_and_gradient_follow_from_the_definitions, 2, 5.0, 0.1),
        test_gradient_is_the_closed_form,
    ],
    ids=["definitions", "closed form"],
)
def test_the_tests_notice_a_dropped_term(monkeypatch, check, name, broken):
    monkeypatch.setattr(reference, name, broken)
    with pytest.raises(AssertionError):
        check()


def test_gradcheck():
    logits, target = random_case(tokens=4, classes=5)
    target[1] = PAD
    assert torch.autograd.gradcheck(
        lambda x: rdrop_loss(x, target, 5.0, 0.1, padding_idx=PAD).loss, logits
    )


@given(extra=st.integers(1, 5), seed=st.integers(0, 99), pad_logit=st.sampled_from([0.0, 1e30]))
@settings(max_examples=25, deadline=None)
def test_padding_columns_change_nothing(extra, seed, pad_logit):
    logits, target = random_case(seed=seed)
    total = rdrop_loss(logits, target, 5.0, 0.1, padding_idx=PAD)
    (gradient,) = torch.autograd.grad(total.loss, logits)

    columns = torch.full((2, extra, logits.size(-1)), pad_logit, dtype=logits.dtype)
    padded = torch.cat([logits.detach(), columns], 1).requires_grad_()
    padded_target = torch.cat([target, torch.full((extra,), PAD)])
    padded_total = rdrop_loss(padded, padded_target, 5.0, 0.1, padding_idx=PAD)
    (padded_gradient,) = torch.autograd.grad(padded_total.loss, padded)

    torch.testing.assert_close(padded_total, total, rtol=1e-14, atol=0)
    assert torch.equal(padded_gradient[:, :-extra], gradient)
    assert not padded_gradient[:, -extra:].any()


def test_identical_views_have_no_kl():
    logits, target = random_case()
    same = logits[:1].expand(2, -1, -1).detach().requires_grad_()
    total = rdrop_loss(same, target, 5.0, 0.1)
    plain = rdrop_loss(same, target, 0.0, 0.1)
    assert total.kl_loss == 0
    assert total.loss == plain.loss
    assert rdrop_loss(logits, target).kl_loss > 0


def test_kl_is_symmetric_in_the_views():
    logits, target = random_case()
    kl, swapped = (rdrop_loss(z, target).kl_loss for z in (logits, logits.flip(0)))
    torch.testing.assert_close(kl, swapped, rtol=1e-14, atol=0)


def test_unreduced_losses_sum_to_the_reduced_ones_and_are_zero_on_padding():
    logits, target = random_case(tokens=6)
    target[[0, 4]] = PAD
    grid, target_grid = logits.unflatten(1, (2, 3)), target.view(2, 3)
    each = rdrop_loss(grid, target_grid, 5.0, 0.1, PAD, reduce=False)
    total = rdrop_loss(logits, target, 5.0, 0.1, PAD)
    for per_token, summed in zip(each, total):
        assert per_token.shape == (2, 3)
        assert per_token.view(-1)[[0, 4]].eq(0).all()
        torch.testing.assert_close(per_token.sum(), summed)


def test_label_smoothing_is_that_of_the_installed_fairseq():
    from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

    logits, target = random_case()
    target[2] = PAD
    total = rdrop_loss(logits, target, 0.0, 0.1, PAD)
    loss, nll_loss = label_smoothed_nll_loss(
        torch.log_softmax(logits, -1).view(-1, 11), target.repeat(2), 0.1, ignore_index=PAD
    )
    torch.testing.assert_close(total.loss, loss)
    torch.testing.assert_close(total.nll_loss, nll_loss.detach() / 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(dtype):
    logits, target = random_case(tokens=50, classes=1000, dtype=dtype)
    half = rdrop_loss(logits, target, 5.0, 0.1)
    full = rdrop_loss(logits.detach().float(), target, 5.0, 0.1)
    assert half.loss.dtype == torch.float32
    assert half == full


def test_all_padding_is_zero_with_zero_gradient():
    logits, target = random_case()
    total = rdrop_loss(logits, torch.full_like(target, PAD), 5.0, 0.1, PAD)
    total.loss.backward()
    assert total == (0, 0, 0)
    assert not logits.grad.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_bad_logit_is_not_hidden(bad):
    logits, target = random_case()
    with torch.no_grad():
        logits[0, 0, 0] = bad
    assert not rdrop_loss(logits, target, 5.0, 0.1).loss.isfinite()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alpha": -1.0}, "--reg-alpha.* -1.0"),
        ({"alpha": float("nan")}, "--reg-alpha.* nan"),
        ({"alpha": float("inf")}, "--reg-alpha.* inf"),
        ({"label_smoothing": 1.0}, "--label-smoothing.* 1.0"),
        ({"label_smoothing": -0.1}, "--label-smoothing.* -0.1"),
        ({"logits": torch.zeros(1, 7, 11)}, "two passes"),
        ({"logits": torch.zeros(2, 8, 11)}, "do not fit"),
        ({"logits": torch.zeros(2, 7, 1)}, "two classes"),
    ],
)
def test_errors_are_one_clear_sentence(change, words):
    logits, target = random_case()
    with pytest.raises(ValueError, match=words):
        rdrop_loss(**{"logits": logits, "target": target, **change})


def test_needs_no_fairseq():
    """A user of plain PyTorch can import and call it."""
    program = """
import sys
sys.modules["fairseq"] = None
import torch
from rdrop_fairseq.losses import reference
from rdrop_fairseq.losses.reference import rdrop_loss
print(rdrop_loss(torch.randn(2, 3, 5), torch.tensor([0, 1, 2])).loss.item() > 0)
"""
    assert launch.run("python", "-c", program).stdout == "True\n"


WEIGHTS = {
    "R-Drop": rdrop_weights(2),
    "SimCut": SIMCUT_WEIGHTS,
    "label-free": rdrop_weights(2).label_free(),
    "unequal": ViewWeights((1.0, 0.5), ((0.0, 0.7), (0.2, 0.0))),
    "three views": ViewWeights((1, 0, 2), ((0, 0.1, 0.2), (0.3, 0, 0.4), (0.5, 0.6, 0))),
}


def weighted_loss_from_the_definitions(logits, target, alpha, epsilon, weights):
    total = 0
    for i, view in enumerate(logits):
        entropy = loss_from_the_definitions(view.expand(2, -1, -1), target, 0.0, epsilon)[0] / 2
        total = total + weights.cross_entropy[i] * entropy
        for j, other in enumerate(logits):
            kl = kl_divergence(Categorical(logits=view), Categorical(logits=other)).sum()
            total = total + alpha * weights.kl[i][j] * kl
    return total


@pytest.mark.parametrize("loss_function", [rdrop_loss, fused_rdrop_loss])
@pytest.mark.parametrize("name", WEIGHTS)
def test_any_weights_follow_from_the_definitions(name, loss_function):
    weights = WEIGHTS[name]
    logits, target = random_case(views=len(weights.cross_entropy))
    total = loss_function(logits, target, 3.0, 0.1, weights=weights)
    expected = weighted_loss_from_the_definitions(logits, target, 3.0, 0.1, weights)
    torch.testing.assert_close(total.loss, expected, rtol=1e-10, atol=1e-10)
    (gradient,) = torch.autograd.grad(total.loss, logits)
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("broken", DROPPED_TERMS)
@pytest.mark.parametrize("name", ["R-Drop", "SimCut", "unequal", "three views"])
def test_with_any_weights_a_dropped_term_is_noticed(monkeypatch, name, broken):
    use_kernel(monkeypatch, broken)
    with pytest.raises(AssertionError):
        test_any_weights_follow_from_the_definitions(name, fused_rdrop_loss)


@pytest.mark.parametrize("loss_function", [rdrop_loss, fused_rdrop_loss])
def test_one_view_can_count_twice(loss_function):
    logits, target = random_case(views=1)
    both = logits.detach().expand(2, -1, -1)
    twice_plain = rdrop_weights(2).of_one_view()
    once = loss_function(logits, target, 5.0, 0.1, weights=twice_plain)
    twice = rdrop_loss(both, target, 5.0, 0.1)
    torch.testing.assert_close(once, twice)
    with pytest.raises(ValueError, match="weights are for 1 views and the logits have 2"):
        loss_function(both, target, weights=twice_plain)


@pytest.mark.parametrize("loss_function", [rdrop_loss, fused_rdrop_loss])
def test_an_alpha_that_wants_a_gradient_is_refused(loss_function):
    logits, target = random_case()
    with pytest.raises(ValueError, match="--reg-alpha.* gets no gradient"):
        loss_function(logits, target, torch.tensor(5.0, requires_grad=True))


def loss_value(logits, target):
    return rdrop_loss(logits, target, 5.0, 0.1, PAD).loss


def test_torch_func_and_compile_work_on_the_reference():
    logits, target = random_case()
    target[1] = PAD
    logits = logits.detach()
    twin = logits.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss_value(twin, target), twin)
    torch.testing.assert_close(torch.func.grad(loss_value)(logits, target), expected)
    batches = torch.stack([logits, logits.flip(0)])
    each = torch.func.vmap(loss_value, in_dims=(0, None))(batches, target)
    torch.testing.assert_close(each, torch.stack([loss_value(b, target) for b in batches]))
    compiled = torch.compile(loss_value, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(twin, target), loss_value(twin, target))
    torch.testing.assert_close(torch.autograd.grad(compiled(twin, target), twin)[0], expected)
