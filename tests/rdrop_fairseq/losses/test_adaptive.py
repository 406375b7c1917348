"""R-Drop of an adaptive softmax against its definition, token by token, in float64."""

import math

import pytest
import torch
from helpers.constants import PAD
from helpers.dropped_terms import use_kernel, without_p_minus_q
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rdrop_fairseq.adaptive_head import reference_loss
from rdrop_fairseq.losses.adaptive import adaptive_rdrop_loss
from rdrop_fairseq.losses.fused import linear_rdrop_loss
from rdrop_fairseq.losses.interface import ViewWeights

SIZES, WIDTHS = (5, 4, 6), (8, 4, 2)
ALPHA = 0.7
TARGET = torch.tensor([[0, 4, 5, PAD], [8, 9, 14, 3], [PAD, 6, 10, 2]])
"""Both ends of each cluster, padding, and the class of the number of the padding in both tails."""


def random_case(views=2, target=TARGET, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    features = normal(views, *target.shape, sum(WIDTHS))
    classes = (SIZES[0] + len(SIZES) - 1, *SIZES[1:])
    return features, [normal(size, width) for size, width in zip(classes, WIDTHS)]


def clusters_of(word):
    """The (cluster, class) pairs of a word: its place in the head, and in a tail if it is rare."""
    start = SIZES[0]
    if word < start:
        return [(0, word)]
    for number, size in enumerate(SIZES[1:], 1):
        if word < start + size:
            return [(0, SIZES[0] + number - 1), (number, word - start)]
        start += size
    raise AssertionError("no such word")


def definition(features, projections, target, alpha, kl_weight=0.5):
    """Loss, nll and KL of two views, each token and class by itself."""
    loss = nll_sum = kl_sum = 0.0
    for place in range(target.numel()):
        row, column = divmod(place, target.size(1))
        for cluster, wanted in clusters_of(int(target[row, column])):
            if wanted == PAD:  # fairseq's adaptive_loss ignores that class of every cluster
                continue
            begin = sum(WIDTHS[:cluster])
            inputs = features[:, row, column, begin : begin + WIDTHS[cluster]]
            z = inputs @ projections[cluster].t()
            p, q = (scores.exp() / scores.exp().sum() for scores in z)
            nll = -p[wanted].log() - q[wanted].log()
            kl = kl_weight * ((p * (p / q).log()).sum() + (q * (q / p).log()).sum())
            loss, nll_sum, kl_sum = loss + nll + alpha * kl, nll_sum + nll / 2, kl_sum + kl
    return loss, nll_sum, kl_sum


IN_CHUNKS = {
    "one chunk": linear_rdrop_loss,
    "chunks of two": lambda *operands: linear_rdrop_loss(*operands, chunk_size=2),
    "reference": reference_loss,
}


@pytest.fixture(params=IN_CHUNKS)
def loss(request):
    return IN_CHUNKS[request.param]


def compare(loss, features, projections, **changes):
    expected = definition(features, projections, TARGET, **{"alpha": ALPHA, **changes})
    found = adaptive_rdrop_loss(features, projections, TARGET, ALPHA, PAD, loss=loss)
    for mine, other in zip(found, expected):
        torch.testing.assert_close(mine.detach(), other.detach())
    operands = [features, *projections]
    mine, other = (torch.autograd.grad(total, operands) for total in (found.loss, expected[0]))
    torch.testing.assert_close(mine, other)


def test_loss_and_gradients_are_those_of_the_definition(loss):
    compare(loss, *random_case())


@pytest.mark.parametrize("changes", [{"alpha": 0.0}, {"kl_weight": 0.49}])
def test_another_definition_is_noticed(loss, changes):
    with pytest.raises(AssertionError, match="not close"):
        compare(loss, *random_case(), **changes)


def test_a_dropped_term_is_noticed(monkeypatch):
    use_kernel(monkeypatch, without_p_minus_q)
    with pytest.raises(AssertionError, match="not close"):
        compare(linear_rdrop_loss, *random_case())


def test_one_value_a_token(loss):
    features, projections = random_case()
    total = adaptive_rdrop_loss(features, projections, TARGET, ALPHA, PAD, loss=loss)
    each = adaptive_rdrop_loss(features, projections, TARGET, ALPHA, PAD, False, loss=loss)
    for one, sum_of_all in zip(each, total):
        assert one.shape == TARGET.shape and not one[TARGET.eq(PAD)].any()
        torch.testing.assert_close(one.sum(), sum_of_all)


def test_one_view_is_the_negative_log_likelihood_of_the_words(loss):
    """Which the chain rule makes of head and tail; without padding no class is left out."""
    features, projections = random_case(views=1)
    one_view = ViewWeights((1.0,), ((0.0,),))
    nll = adaptive_rdrop_loss(
        features, projections, TARGET, 0.0, -100, False, one_view, loss=loss
    ).loss
    word = TARGET[1, 2]
    head = torch.log_softmax(features[0, 1, 2, :8] @ projections[0].t(), -1)
    tail = torch.log_softmax(features[0, 1, 2, 12:] @ projections[2].t(), -1)
    torch.testing.assert_close(nll[1, 2], -head[6] - tail[word - 9])


def test_the_kl_is_not_that_of_the_whole_vocabulary(loss):
    """It is where only the head differs, as the chain rule says, and not where a tail does."""
    features, projections = random_case()

    def both():
        kl = adaptive_rdrop_loss(features, projections, TARGET, 1.0, -100, False, loss=loss).kl_loss
        begins = (0, 8, 12)
        cuts = [features[..., b : b + w] for b, w in zip(begins, WIDTHS)]
        head, *tails = (torch.log_softmax(x @ w.t(), -1) for x, w in zip(cuts, projections))
        words = [head[..., :5], *(head[..., 5 + n, None] + tail for n, tail in enumerate(tails))]
        p, q = torch.cat(words, -1)
        return kl, ((p.exp() - q.exp()) * (p - q)).sum(-1) / 2

    with torch.no_grad():
        features[1, ..., 8:] = features[0, ..., 8:]
    torch.testing.assert_close(*both())
    with torch.no_grad():
        features[1, ..., 12:] += 1
    mine, whole = both()
    assert (mine - whole).abs().max() > 1e-3


@pytest.mark.parametrize("word", [15, -1])
def test_a_target_that_is_outside_the_vocabulary_is_refused_in_a_sentence(loss, word):
    target = TARGET.clone()
    target[0, 0] = word
    with pytest.raises(
        ValueError, match="outside the vocabulary .0 to 14.: make the model with"
    ) as error:
        adaptive_rdrop_loss(*random_case(), target, ALPHA, PAD, loss=loss)
    assert "\n" not in str(error.value)


def test_tokens_of_padding_alone_cost_nothing(loss):
    features, projections = random_case()
    found = adaptive_rdrop_loss(
        features, projections, torch.full_like(TARGET, PAD), ALPHA, PAD, loss=loss
    )
    assert [value.item() for value in found] == [0, 0, 0]
    assert not torch.autograd.grad(found.loss, features)[0].any()


class LargestTensor(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation gives."""

    elements = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return result


@pytest.mark.parametrize("chunk_size", [16, math.inf])
def test_no_tensor_holds_a_large_tail_for_all_tokens(chunk_size):
    """With no chunks the same would be seen, so the test can fail."""
    tokens, words = 128, 2000
    size = min(chunk_size, tokens)
    weight = torch.randn(words, 2)
    projections = [torch.randn(11, 4, requires_grad=True), weight.requires_grad_()]
    features = torch.randn(2, tokens, 6, requires_grad=True)
    target = torch.full((tokens,), 50)
    with LargestTensor() as largest:
        in_chunks = lambda *operands: linear_rdrop_loss(*operands, chunk_size=size)  # noqa: E731
        adaptive_rdrop_loss(
            features, projections, target, ALPHA, PAD, loss=in_chunks
        ).loss.backward()
    assert largest.elements == 2 * size * words
