"""Candidates, mask and attributions against slow loops over rows, written from the definition."""

import math
import random
from fractions import Fraction
from functools import partial

import pytest
import torch

from rdrop_fairseq.views.attribution import (
    attention_mask,
    candidates,
    gradients,
    integrated_gradient,
    kept_positions,
)

RATES = (0, 0.1, 0.3, 0.5, 0.7, 0.9, 1)


def candidates_of_row(row, p):
    """The definition, for one row without padding: exact arithmetic, a set of positions."""
    count = math.ceil(Fraction(str(p)) * len(row))
    if count == 0:
        return set()
    lowest = sorted(row, reverse=True)[count - 1]
    return {position for position, value in enumerate(row) if value >= lowest}


def rows_of(attributions, is_key):
    """``(place, keys, values)`` of every row, by plain loops."""
    is_key = is_key.expand(attributions.shape)
    for place in torch.cartesian_prod(*map(torch.arange, attributions.shape[:-1])).tolist():
        row, keys = attributions[tuple(place)].tolist(), is_key[tuple(place)].tolist()
        positions = [position for position, key in enumerate(keys) if key]
        yield tuple(place), positions, [row[position] for position in positions]


def example(seed, ties=False, longest=12):
    """Random attributions ``(B, H, T, S)``, and keys behind which there is padding."""
    chance = torch.Generator().manual_seed(seed)
    shape = (3, 2, 4, longest)
    attributions = torch.randn(shape, generator=chance, dtype=torch.float64)
    if ties:
        attributions = attributions.round()
    lengths = torch.tensor([longest, 1, max(longest // 2, 1)])
    return attributions, (torch.arange(longest) < lengths[:, None])[:, None, None]


@pytest.mark.parametrize("ties", [False, True], ids=["apart", "ties"])
@pytest.mark.parametrize("longest", [1, 2, 7, 10, 20])
@pytest.mark.parametrize("p", RATES)
def test_the_candidates_are_those_of_the_definition(p, longest, ties):
    attributions, is_key = example(1, ties, longest)
    found = candidates(attributions, p, is_key)
    for place, keys, values in rows_of(attributions, is_key):
        expected = {keys[position] for position in candidates_of_row(values, p)}
        assert set(found[place].nonzero().flatten().tolist()) == expected
        if not ties:
            assert len(expected) == math.ceil(Fraction(str(p)) * len(keys))


def test_the_number_of_candidates_is_exact_where_binary_numbers_are_not():
    for length in range(1, 200):
        for tenths in range(11):
            found = candidates(torch.randperm(length).double(), tenths / 10).sum().item()
            assert found == -(-tenths * length // 10)


@pytest.mark.parametrize("ties", [False, True], ids=["apart", "ties"])
@pytest.mark.parametrize("q", RATES)
@pytest.mark.parametrize("p", RATES)
def test_the_mask_is_that_of_a_loop_over_the_rows(p, q, ties):
    attributions, is_key = example(2, ties)
    torch.manual_seed(5)
    kept = kept_positions(attributions, p, q, is_key)
    torch.manual_seed(5)
    chance = torch.rand(attributions.shape)
    for place, keys, values in rows_of(attributions, is_key):
        dropped = {
            keys[position]
            for position in candidates_of_row(values, p)
            if chance[place][keys[position]] < q
        }
        if len(dropped) == len(keys):
            dropped.remove(keys[values.index(min(values))])
        assert set((~kept[place]).nonzero().flatten().tolist()) == dropped


def test_p_and_q_of_1_leave_the_key_with_the_lowest_attribution():
    attributions = torch.tensor([[3.0, 1.0, 2.0, 0.0]])
    kept = kept_positions(attributions, 1, 1, is_key=torch.arange(4)[None] < 3)
    assert kept.tolist() == [[False, True, False, True]]  # the last one is padding


@pytest.mark.parametrize(("p", "q"), [(0, 1), (1, 0), (0, 0)])
def test_p_or_q_of_0_drops_nothing(p, q):
    assert kept_positions(torch.zeros(4, 6), p, q).all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_row_loses_all_its_keys_whatever_the_attributions(value):
    is_key = torch.arange(5)[None] < 3
    attributions = torch.full((6, 5), value)
    attributions[3:, 0] = 1.0
    kept = kept_positions(attributions, 1, 1, is_key)
    assert (kept & is_key).sum(-1).tolist() == [1] * 6


def test_a_candidate_is_dropped_with_probability_q():
    torch.manual_seed(1)
    attributions = torch.arange(10.0).expand(4000, 10)
    dropped = ~kept_positions(attributions, 0.4, 0.3)
    assert not dropped[:, :6].any()
    rates = dropped[:, 6:].double().mean(0)
    assert (rates - 0.3).abs().max() < 4 * math.sqrt(0.3 * 0.7 / 4000)


@pytest.mark.parametrize(
    ("p", "q", "name"), [(-0.1, 0.5, "p"), (0.5, 1.1, "q"), (math.nan, 0, "p")]
)
def test_a_rate_out_of_range_is_refused(p, q, name):
    with pytest.raises(ValueError, match=rf"^{name} must lie in \[0, 1\], not"):
        kept_positions(torch.zeros(1, 2), p, q)


class Attention(torch.nn.Module):
    """Two layers of attention and a classifier in plain PyTorch, float64."""

    def __init__(self, width=6, classes=3):
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(2))
        self.classes = torch.nn.Linear(width, classes)
        self.double()

    def forward(self, x, change=None):
        """``change``: from the number of a layer and its A to what takes its place."""
        attentions = []
        for number, layer in enumerate(self.layers):
            attention = (layer(x) @ x.transpose(1, 2)).softmax(-1)
            attention = change(number, attention) if change else attention
            attentions.append(attention)
            x = (x + attention @ x).tanh()
        return self.classes(x[:, 0]), attentions


@pytest.fixture
def attended():
    torch.manual_seed(3)
    model, x = Attention(), torch.randn(2, 5, 6, dtype=torch.float64)
    logits, attentions = model(x)
    labels = logits.argmax(-1, keepdim=True)
    return model, x, labels, attentions, logits.gather(-1, labels).sum()


def target_at(model, x, labels, number, values):
    """t, where the attention of one layer has other values."""
    with torch.no_grad():
        change = lambda n, attention: values if n == number else attention  # noqa: E731
        return model(x, change)[0].gather(-1, labels).sum()


@pytest.mark.parametrize("number", [0, 1])
def test_gradient_attribution_is_that_of_finite_differences(attended, number):
    model, x, labels, attentions, target = attended
    found = gradients(target, attentions)[number]
    step = 1e-6
    for place in random.Random(1).sample(range(found.numel()), 20):
        shift = torch.zeros_like(found)
        shift.view(-1)[place] = step
        values = attentions[number].detach()
        up, down = (target_at(model, x, labels, number, values + s) for s in (shift, -shift))
        assert found.flatten()[place].item() == pytest.approx(
            ((up - down) / (2 * step)).item(), rel=1e-5, abs=1e-8
        )


def gradient_at(model, x, labels, number, scale):
    seen = []

    def change(n, attention):
        if n == number:
            attention = attention * scale
            seen.append(attention)
        return attention

    logits, _ = model(x, change)
    return torch.autograd.grad(logits.gather(-1, labels).sum(), seen)[0]


@pytest.mark.parametrize("number", [0, 1])
def test_the_integrated_gradient_is_that_of_a_fine_riemann_sum(attended, number):
    model, x, labels, attentions, _ = attended
    at = lambda scale: gradient_at(model, x, labels, number, scale)  # noqa: E731
    attention = attentions[number].detach()
    found = integrated_gradient(attention, at, 20)
    middles = [(k + 0.5) / 2000 for k in range(2000)]
    fine = attention * sum(at(scale) for scale in middles) / 2000
    assert (found - fine).abs().max() < 0.1 * fine.abs().max()
    assert (integrated_gradient(attention, at, 400) - fine).abs().max() < 0.005 * fine.abs().max()
    # The attributions of all positions add up to what attention changes in the target.
    whole = [target_at(model, x, labels, number, s * attention) for s in (1, 0)]
    assert fine.sum().item() == pytest.approx((whole[0] - whole[1]).item(), rel=1e-4)
    expected = attention * sum(at(k / 20) for k in range(1, 21)) / 20
    torch.testing.assert_close(found, expected)


def test_the_mask_for_any_model_is_that_of_its_gradient(attended):
    model, _, _, attentions, target = attended
    is_key = (torch.arange(5) < 4).view(1, 1, 5)
    torch.manual_seed(7)
    kept = attention_mask(attentions[0], target, 0.5, 0.5, is_key)
    torch.manual_seed(7)
    assert all(parameter.grad is None for parameter in model.parameters())
    expected = kept_positions(gradients(target, [attentions[0]])[0], 0.5, 0.5, is_key)
    assert torch.equal(kept, expected)
    assert not kept.all()


def test_the_graph_is_still_there_for_another_mask(attended):
    _, _, _, attentions, target = attended
    attention_mask(attentions[0], target, 0.5, 0.5)
    target.backward()


def test_keys_of_fewer_dimensions_are_refused():
    attributions = torch.rand(3, 3, 4, 5)
    for function in (partial(kept_positions, p=1, q=1), partial(candidates, p=1)):
        with pytest.raises(ValueError, match=r"\(3, 1, 5\) .* as many dimensions, such as \(B, 1"):
            function(attributions, is_key=torch.ones(3, 1, 5, dtype=torch.bool))


def test_a_copy_of_the_attention_is_refused():
    """As PyTorch's attention returns it, which its output does not depend on."""
    layer = torch.nn.MultiheadAttention(4, 2, batch_first=True)
    x = torch.randn(1, 3, 4)
    output, attention = layer(x, x, x, average_attn_weights=False)
    for weights in (attention, attention.detach()):
        with pytest.raises(ValueError, match="not a copy or a mean of them, which"):
            attention_mask(weights, output.sum(), 0.5, 0.5)


def test_an_attention_without_influence_has_attribution_zero():
    attention, other = (torch.rand(2, 3, requires_grad=True) for _ in range(2))
    assert gradients(other.sum(), [attention])[0].tolist() == [[0] * 3] * 2
