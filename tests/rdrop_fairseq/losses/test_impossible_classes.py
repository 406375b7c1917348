"""Classes with a logit of minus infinity: as if they were not there, or an infinite KL."""

import pytest
import torch

from rdrop_fairseq.losses.fused import fused_rdrop_loss, linear_rdrop_loss
from rdrop_fairseq.losses.interface import SIMCUT_WEIGHTS, rdrop_weights
from rdrop_fairseq.losses.reference import rdrop_loss

INFINITY = float("inf")


LOSSES = (rdrop_loss, fused_rdrop_loss)


def random_case(classes=7, tokens=5, views=2):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(views, tokens, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(2, classes, (tokens,), generator=generator)


def without(impossible, logits, target, *arguments):
    """Loss and gradient, token by token, over the possible classes alone."""
    total, gradient = torch.zeros((), dtype=logits.dtype), torch.zeros_like(logits)
    for token, kept in enumerate(~impossible):
        if kept.sum() == 1:  # certain: no loss
            continue
        possible = logits[:, token : token + 1, kept].clone().requires_grad_()
        index = kept[: target[token]].sum().view(1)
        loss = rdrop_loss(possible, index, *arguments).loss
        (gradient[:, token, kept],) = torch.autograd.grad(loss, possible)[0].unbind(1)
        total = total + loss.detach()
    return total, gradient


def masks(tokens, classes, target):
    same = torch.zeros(tokens, classes, dtype=torch.bool)
    same[:, 1] = True
    differing = same.clone()
    differing[0, 0] = differing[2, :2] = True
    all_but_one = torch.ones_like(same).scatter_(1, target.unsqueeze(1), False)
    return {"same": same, "differing": differing, "all but one": all_but_one}


@pytest.mark.parametrize("loss_function", LOSSES)
@pytest.mark.parametrize("alpha", [0.0, 5.0])
@pytest.mark.parametrize("name", ["same", "differing", "all but one"])
@pytest.mark.parametrize("views", [2, 3])
def test_a_class_that_every_view_excludes_counts_for_nothing(loss_function, alpha, name, views):
    logits, target = random_case(views=views)
    impossible = masks(*logits.shape[1:], target)[name]
    impossible.scatter_(1, target.unsqueeze(1), False)
    masked = logits.masked_fill(impossible, -INFINITY).requires_grad_()
    total = loss_function(masked, target, alpha)
    expected, expected_gradient = without(impossible, logits, target, alpha)
    (gradient,) = torch.autograd.grad(total.loss, masked)
    torch.testing.assert_close(total.loss.detach(), expected)
    torch.testing.assert_close(gradient, expected_gradient)


def test_alpha_0_is_the_cross_entropy_of_pytorch():
    logits, target = random_case()
    impossible = masks(*logits.shape[1:], target)["differing"]
    masked = logits.masked_fill(impossible.scatter_(1, target.unsqueeze(1), False), -INFINITY)
    expected = sum(torch.nn.functional.cross_entropy(v, target, reduction="sum") for v in masked)
    for loss_function in LOSSES:
        torch.testing.assert_close(loss_function(masked, target, 0.0).loss, expected)


@pytest.mark.parametrize("loss_function", LOSSES)
def test_a_class_that_one_view_excludes_has_an_infinite_kl(loss_function):
    logits, target = random_case()
    logits[0, 1, 0] = -INFINITY
    each = loss_function(logits, target, 5.0, reduce=False)
    assert each.kl_loss.isinf().tolist() == [False, True, False, False, False]
    assert each.loss.isinf().tolist() == [False, True, False, False, False]
    without_kl = loss_function(logits, target, 0.0)
    assert without_kl.loss.isfinite()


@pytest.mark.parametrize("loss_function", LOSSES)
def test_smoothing_gives_mass_to_an_impossible_class_and_that_is_infinite(loss_function):
    logits, target = random_case()
    logits[:, :, 1] = -INFINITY
    assert loss_function(logits, target, 5.0, 0.1).loss == INFINITY
    assert torch.nn.functional.cross_entropy(logits[0], target, label_smoothing=0.1) == INFINITY


@pytest.mark.parametrize("loss_function", LOSSES)
@pytest.mark.parametrize("epsilon", [0.0, 0.1])
def test_a_target_that_no_cross_entropy_counts_may_be_impossible(loss_function, epsilon):
    logits, target = random_case()
    excluded = torch.zeros_like(logits, dtype=torch.bool)
    excluded.scatter_(-1, target.expand(2, -1).unsqueeze(-1), True)
    masked = logits.masked_fill(excluded, -INFINITY).requires_grad_()
    weights = rdrop_weights(2).label_free()
    total = loss_function(masked, target, 5.0, epsilon, weights=weights).loss
    others = [logits[:, token, ~excluded[0, token]] for token in range(len(target))]
    kept = torch.stack(others, 1).requires_grad_()
    expected = rdrop_loss(kept, torch.zeros_like(target), 5.0, weights=weights).loss
    torch.testing.assert_close(total, expected)
    (gradient,) = torch.autograd.grad(total, masked)
    torch.testing.assert_close(
        gradient[~excluded], torch.autograd.grad(expected, kept)[0].flatten()
    )
    assert (gradient[excluded] == 0).all()


@pytest.mark.parametrize("loss_function", LOSSES)
def test_the_cut_pass_of_simcut_may_exclude_the_target(loss_function):
    logits, target = random_case()
    logits[1, 2, target[2]] = -INFINITY
    each = loss_function(logits, target, 5.0, 0.1, reduce=False, weights=SIMCUT_WEIGHTS)
    expected = torch.nn.functional.cross_entropy(logits[0], target, reduction="none")
    torch.testing.assert_close(each.nll_loss, expected)
    assert each.loss.isinf().tolist() == [False, False, True, False, False]
    assert not each.loss.isnan().any()


def test_a_bias_of_minus_infinity_in_the_linear_form():
    logits, target = random_case(classes=6)
    weight = torch.eye(6, dtype=torch.float64)
    bias = torch.tensor([0.0, -INFINITY, 0, 0, 0, 0], dtype=torch.float64)
    features = logits.requires_grad_()
    total = linear_rdrop_loss(features, weight, bias, target)
    impossible = torch.zeros(5, 6, dtype=torch.bool)
    impossible[:, 1] = True
    expected, expected_gradient = without(impossible, logits.detach(), target, 5.0)
    torch.testing.assert_close(total.loss.detach(), expected)
    (gradient,) = torch.autograd.grad(total.loss, features)
    torch.testing.assert_close(gradient, expected_gradient)
