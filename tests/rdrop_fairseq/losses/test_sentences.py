"""The losses of sentences against their definitions in float64, and by finite differences."""

import pytest
import torch

from rdrop_fairseq.losses.interface import rdrop_weights
from rdrop_fairseq.losses.sentences import classification_loss, regression_loss

TWO = rdrop_weights(2)


def random_views(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_gradients_are_those_of_finite_differences():
    logits = random_views(2, 4, 3).requires_grad_()
    target, known = torch.tensor([0, 2, 1, 0]), torch.tensor([True, False, True, False])

    def classes(logits):
        return classification_loss(logits, target, known, 2.0, TWO).loss

    def numbers(values):
        return regression_loss(values, random_views(4, 3), 2.0, TWO).loss

    assert torch.autograd.gradcheck(classes, logits)
    assert torch.autograd.gradcheck(numbers, logits)


def test_regression_is_the_formula_of_two_views():
    f = random_views(2, 5, 1)
    y = random_views(5, 1) + 1
    loss, error, distance = regression_loss(f, y, 3.0, TWO)
    first, second = ((view - y).square().sum() for view in f)
    between = (f[0] - f[1]).square().sum()
    torch.testing.assert_close(loss, first + second + 3 * between)
    torch.testing.assert_close(error, (first + second) / 2)
    torch.testing.assert_close(distance, between)


@pytest.mark.parametrize("known", [[], [0, 1, 2]])
@pytest.mark.parametrize("views", [1, 2])
def test_no_label_at_all_or_one_view_is_no_special_case(known, views):
    logits = random_views(views, 3, 4).requires_grad_()
    weights, alpha = (TWO, 1.0) if views == 2 else (TWO.of_one_view(), 0.0)
    is_labelled = torch.tensor([number in known for number in range(3)])
    total = classification_loss(logits, torch.zeros(3).long(), is_labelled, alpha, weights)
    total.loss.backward()
    assert (total.loss > 0) == bool(known or views == 2)
    assert logits.grad.isfinite().all()


def test_half_precision_is_computed_in_float32():
    values = random_views(2, 3, 1).half()
    assert regression_loss(values, torch.zeros(3, 1), 1.0, TWO).loss.dtype == torch.float32


def test_what_does_not_fit_is_refused_in_a_sentence():
    with pytest.raises(ValueError, match="two tensors of one shape"):
        regression_loss(random_views(2, 3, 1), torch.zeros(4, 1), 1.0, TWO)
    with pytest.raises(ValueError, match="--reg-alpha"):
        regression_loss(random_views(2, 3, 1), torch.zeros(3, 1), -1.0, TWO)
