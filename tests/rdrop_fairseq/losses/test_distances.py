"""The general form against its definition and against R-Drop, in float64."""

import math
from functools import partial

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from rdrop_fairseq.losses import distances
from rdrop_fairseq.losses.distances import cross_entropy, distance_loss, squared_error
from rdrop_fairseq.losses.interface import rdrop_weights
from rdrop_fairseq.losses.reference import rdrop_loss

CLASSES, SAMPLES, ALPHA = 5, 7, 3.0
OF_CLASSES = {"distance": distances.kl_divergence, "target_distance": cross_entropy}


def numbers(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def regression(views=2):
    return numbers(views, SAMPLES).requires_grad_(), numbers(SAMPLES, seed=1)


def classification(views=2):
    target = torch.arange(SAMPLES) % CLASSES
    return numbers(views, SAMPLES, CLASSES).requires_grad_(), target


def kl_by_definition(expected, given):
    return kl_divergence(Categorical(logits=expected), Categorical(logits=given))


def entropy_by_definition(target, logits):
    return -Categorical(logits=logits).log_prob(target)


def squared_by_definition(expected, given):
    return (expected - given) ** 2


def by_definition(views, target, of_pair, of_target):
    """D(y,f_1) + ... + alpha * the mean over all ordered pairs of D(f_i, f_j), sample by sample."""
    pairs = [(i, j) for i in range(len(views)) for j in range(len(views)) if i != j]
    fits = [of_target(target, view) for view in views]
    between = sum(of_pair(views[i], views[j]) for i, j in pairs) / len(pairs)
    return sum(fits) + ALPHA * between, sum(fits) / len(views), between


CASES = {
    "regression": (regression, {"distance": squared_error}, (squared_by_definition,) * 2),
    "classes": (classification, OF_CLASSES, (kl_by_definition, entropy_by_definition)),
}


@pytest.mark.parametrize("reduce", [True, False])
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_follow_from_the_definition(case, count, reduce):
    make, measures, definitions = CASES[case]
    views, target = make(count)
    total = distance_loss(views, target, ALPHA, reduce=reduce, **measures)
    expected = by_definition(views, target, *definitions)
    expected = [values.sum() for values in expected] if reduce else expected
    for values, right in zip(total, expected):
        torch.testing.assert_close(values, right, rtol=1e-12, atol=1e-12)
    assert total.loss.requires_grad
    assert not total.nll_loss.requires_grad and not total.kl_loss.requires_grad
    (gradient,) = torch.autograd.grad(total.loss.sum(), views)
    (right,) = torch.autograd.grad(expected[0].sum(), views)
    torch.testing.assert_close(gradient, right, rtol=1e-11, atol=1e-11)


def test_two_predictions_of_one_number_by_hand():
    """(1 - 3)^2 + (5 - 3)^2 + 0.5 (1 - 5)^2."""
    total = distance_loss(torch.tensor([[1.0], [5.0]]), torch.tensor([3.0]), 0.5, squared_error)
    assert total == (4 + 4 + 0.5 * 16, 4, 16)


@pytest.mark.parametrize("case", CASES)
def test_gradcheck(case):
    make, measures, _ = CASES[case]
    views, target = make()
    assert torch.autograd.gradcheck(
        lambda given: distance_loss(given, target, ALPHA, **measures).loss, views
    )


ALL_PAIRS = distances.permutations


def one_direction(elements, length):
    return [pair for pair in ALL_PAIRS(elements, length) if pair[0] < pair[1]]


NO_FIRST_VIEW = rdrop_weights(2)._replace(cross_entropy=(0.0, 1.0))
BROKEN = {
    "one direction of the distance": ("permutations", one_direction),
    "no distance between views": ("permutations", lambda elements, length: []),
    "one view's distance to the target": ("chosen_weights", lambda *given: NO_FIRST_VIEW),
    "the gradient of log p": (
        "times_difference",
        lambda p, log_p, log_q: (p * (log_p - log_q).detach()).sum(-1),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_dropped_term_is_noticed(monkeypatch, name):
    monkeypatch.setattr(distances, *BROKEN[name])
    with pytest.raises(AssertionError):
        test_loss_and_gradient_follow_from_the_definition("classes", 2, True)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("reduce", [True, False])
def test_with_the_kl_it_is_rdrop(count, reduce):
    views, target = classification(count)
    total = distance_loss(views, target, ALPHA, reduce=reduce, **OF_CLASSES)
    expected = rdrop_loss(views, target, ALPHA, reduce=reduce)
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(each.loss.sum(), views)[0] for each in (total, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-11)


def test_one_distance_for_all_is_enough_for_rdrop():
    """The form as it stands, with one D: the KL to a one-hot target is its cross-entropy."""
    views, target = classification()
    one_hot = torch.nn.functional.one_hot(target, CLASSES).double().log()
    total = distance_loss(views, one_hot, ALPHA, distances.kl_divergence)
    expected = rdrop_loss(views, target, ALPHA)
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(each.loss, views)[0] for each in (total, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-11)


def test_a_distance_of_ones_own():
    views, target = numbers(2, SAMPLES, 3), numbers(SAMPLES, 3, seed=1)
    absolute = partial(torch.nn.functional.l1_loss, reduction="none")
    total = distance_loss(views, target, ALPHA, absolute)
    fits = (views - target).abs().sum()
    expected = fits + ALPHA * (views[0] - views[1]).abs().sum()
    torch.testing.assert_close(total.loss, expected, rtol=1e-12, atol=1e-12)


def test_distances_of_other_shapes_are_summed_each():
    """Cross-entropy, one a sample, and squared error of logits, one a class: as many of each."""
    views, target = classification()
    views, target = views[:, :CLASSES], target[:CLASSES]
    total = distance_loss(views, target, ALPHA, squared_error, cross_entropy)
    fits = entropy_by_definition(target, views[0]) + entropy_by_definition(target, views[1])
    expected = fits.sum() + ALPHA * ((views[0] - views[1]) ** 2).sum()
    torch.testing.assert_close(total.loss, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduce", [True, False])
def test_samples_without_a_label_count_in_the_distance_of_the_views_only(reduce):
    views, _ = regression()
    unknown = torch.full((SAMPLES,), math.nan, dtype=torch.float64)
    options = {"reduce": reduce, "weights": rdrop_weights(2).label_free()}
    loss = distance_loss(views, unknown, ALPHA, squared_error, **options).loss
    expected = ALPHA * (views[0] - views[1]) ** 2
    torch.testing.assert_close(loss, expected.sum() if reduce else expected)
    (gradient,) = torch.autograd.grad(loss.sum(), views)
    torch.testing.assert_close(gradient[0], 2 * ALPHA * (views[0] - views[1]).detach())
    torch.testing.assert_close(gradient[1], -gradient[0])


def test_one_view_with_the_weight_of_two_has_no_distance_between_views():
    views, target = regression(1)
    weights = rdrop_weights(2).of_one_view()
    total = distance_loss(views, target, ALPHA, squared_error, reduce=False, weights=weights)
    torch.testing.assert_close(total.loss, 2 * (views[0] - target) ** 2)
    assert torch.equal(total.kl_loss, torch.zeros_like(target))


@pytest.mark.parametrize("case", CASES)
def test_half_precision_is_measured_in_float32(case):
    make, measures, _ = CASES[case]
    views, target = make()
    target = target.float() if target.is_floating_point() else target
    half = distance_loss(views.half(), target, ALPHA, **measures)
    assert half.loss.dtype == torch.float32
    assert half == distance_loss(views.half().float(), target, ALPHA, **measures)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"outputs": numbers(1, SAMPLES)}, "at least two passes"),
        ({"outputs": numbers(2, SAMPLES, 1)}, r"one shape, not \(7,\) and \(7, 1\)"),
        ({"alpha": -1.0}, "--reg-alpha.* -1.0"),
        ({"weights": rdrop_weights(3)}, "weights are for 3 views and the logits have 2"),
    ],
)
def test_errors_are_one_clear_sentence(change, words):
    views, target = regression()
    given = {"outputs": views, "target": target, "alpha": ALPHA, "distance": squared_error}
    with pytest.raises(ValueError, match=words):
        distance_loss(**{**given, **change})
