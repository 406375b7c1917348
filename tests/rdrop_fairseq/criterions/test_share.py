"""``--rdrop-share``: some sentences of a batch have several views, and the objective stays."""

import copy

import pytest
import torch
from helpers.constants import NO_DROPOUT, PAD
from helpers.criteria import logged, plain_criterion, rows_of_passes

from rdrop_fairseq.criterions import base
from rdrop_fairseq.criterions.base import ViewsCriterion
from rdrop_fairseq.losses.interface import SIMCUT_WEIGHTS, ViewWeights, rdrop_weights
from rdrop_fairseq.views.passes import TwoPasses
from rdrop_fairseq.views.repeat import Group, choose_sentences, repeat_sample

SMOOTHING, ALPHA, SHARE = 0.1, 3.0, 0.25
OPTIONS = (f"--reg-alpha={ALPHA}", f"--rdrop-share={SHARE}", "--dropout=0.4")


def choose(monkeypatch, chosen):
    """Have these sentences chosen, whatever the share."""
    monkeypatch.setattr(base, "choose_sentences", lambda batch_size, share: chosen)


def mask_of(kind, setup):
    size = len(setup.sample["target"])
    return {
        "mixed": torch.arange(size) % 3 == 1,
        "none": torch.zeros(size, dtype=torch.bool),
        "all": torch.ones(size, dtype=torch.bool),
    }[kind]


def label_smoothing(log_probs, target):
    """``(T,)``, as defined: 1 - epsilon on the target, epsilon over the other classes."""
    classes = log_probs.size(-1)
    weight = torch.full_like(log_probs, SMOOTHING / (classes - 1))
    weight.scatter_(-1, target.unsqueeze(-1), 1 - SMOOTHING)
    return -(weight * log_probs).sum(-1)


def objective(views, target, of_all, simcut):
    """Loss, nll and KL of each token of one sentence, by the definition: ``(T,)`` each.

    A chosen sentence has ``of_all`` views, any other one.
    """
    logs = [view.log_softmax(-1) for view in views]
    smoothed = [label_smoothing(log, target) for log in logs]
    nll = [-log.gather(-1, target.unsqueeze(-1)).squeeze(-1) for log in logs]
    if len(views) == 1:  # counts as much as all views of a sentence, without a KL
        return (1 if simcut else of_all) * smoothed[0], nll[0], torch.zeros_like(nll[0])
    kl = [
        (p.exp() * (p - q)).sum(-1)
        for i, p in enumerate(logs)
        for j, q in enumerate(logs)
        if i != j and (not simcut or (i, j) == (0, 1))
    ]
    kl = sum(kl) / len(kl)
    if simcut:
        return smoothed[0] + ALPHA / SHARE * kl, nll[0], kl
    return sum(smoothed) + ALPHA / SHARE * kl, sum(nll) / len(nll), kl


def by_hand(setup, chosen, prefix, of_all, simcut):
    """Loss, nll and KL of each token ``(B * T',)``, from a loop over the sentences."""
    sample = setup.sample
    repeats = 1 + (of_all - 1) * chosen.long()
    logits = setup.model(**repeat_sample(sample, repeats)["net_input"])[0]
    found, row = [], 0
    for target, times in zip(sample["target"], repeats.tolist()):
        views = logits[row : row + times, prefix:]
        row += times
        counts = target[prefix:].ne(PAD)
        found.append([x * counts for x in objective(views, target[prefix:], of_all, simcut)])
    assert row == len(logits)
    return [torch.cat(values) for values in zip(*found)]


@pytest.mark.parametrize("path", ["fused", "reference"])
@pytest.mark.parametrize("prefix", [0, 1])
@pytest.mark.parametrize("kind", ["mixed", "none", "all"])
@pytest.mark.parametrize("method", ["R-Drop", "three views", "SimCut"])
def test_every_sentence_has_its_own_loss_target_and_place(
    transformer, monkeypatch, path, prefix, kind, method
):
    """In float64, token by token and in the order of the batch; the gradient too."""
    of_method = {
        "three views": ("--rdrop-views=3",),
        "SimCut": ("--criterion=simcut_label_smoothed_cross_entropy", "--view-cutoff=0"),
    }
    of_all, simcut = 3 if method == "three views" else 2, method == "SimCut"
    arguments = (f"--rdrop-loss={path}", f"--ignore-prefix-size={prefix}")
    setup = transformer(*OPTIONS, *arguments, *of_method.get(method, ()))
    setup.model.double().train()
    chosen = mask_of(kind, setup)
    choose(monkeypatch, chosen)

    torch.manual_seed(5)
    loss, _, log = setup.criterion(setup.model, setup.sample, reduce=False)
    torch.manual_seed(5)
    expected = by_hand(setup, chosen, prefix, of_all, simcut)
    for mine, gold in zip((loss, log["nll_loss"], log["kl_loss"]), expected):
        torch.testing.assert_close(mine, gold)

    parameters = list(setup.model.parameters())
    gold = torch.autograd.grad(expected[0].sum(), parameters, allow_unused=True)
    torch.manual_seed(5)
    total, _, log = setup.criterion(setup.model, setup.sample)
    torch.testing.assert_close(torch.autograd.grad(total, parameters, allow_unused=True), gold)
    for name, values in zip(("loss", "nll_loss", "kl_loss"), expected):
        torch.testing.assert_close(log[name], values.sum().detach())


def test_the_log_of_a_share(transformer, monkeypatch):
    setup = transformer(*OPTIONS, "--sentence-avg")
    setup.model.train()
    chosen, target = mask_of("mixed", setup), setup.sample["target"]
    choose(monkeypatch, chosen)
    _, sample_size, log = setup.criterion(setup.model, setup.sample)
    assert sample_size == log["nsentences"] == len(target)
    assert log["ntokens"] == setup.sample["ntokens"]
    shown = logged(setup.criterion, log)
    tokens = target.ne(PAD).sum(1)
    share = tokens[chosen].sum() / tokens.sum()
    assert shown["rdrop_share"] == pytest.approx(share.item(), abs=1e-3)
    assert shown["rdrop_alpha"] == ALPHA
    bits = log["kl_loss"] / tokens[chosen].sum() / torch.tensor(2.0).log()
    assert shown["kl_loss"] == pytest.approx(bits.item(), abs=1e-3) and bits > 0


@pytest.mark.parametrize("kind", ["mixed", "none", "all"])
def test_nll_ppl_and_accuracy_of_equal_views_are_those_of_a_plain_run(
    transformer, monkeypatch, kind
):
    setup = transformer(*OPTIONS, *NO_DROPOUT, "--report-accuracy", "--ignore-prefix-size=1")
    setup.model.train()
    choose(monkeypatch, mask_of(kind, setup))
    plain = plain_criterion(setup)
    ours = logged(setup.criterion, setup.criterion(setup.model, setup.sample)[2])
    theirs = logged(plain, plain(setup.model, setup.sample)[2])
    for name in ("nll_loss", "ppl"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-5)
    if kind != "mixed":  # there, sentences with two views count twice
        assert ours["accuracy"] == pytest.approx(theirs["accuracy"], rel=1e-5)


def test_accuracy_compares_each_sentence_with_its_own_target(transformer, monkeypatch):
    """A model that is always right: every logit says the target."""
    setup = transformer(*OPTIONS, "--report-accuracy", "--rdrop-loss=reference")
    sample = copy.deepcopy(setup.sample)
    sample["net_input"]["prev_output_tokens"] = sample["target"]
    classes = len(setup.task.target_dictionary)

    class Knows(torch.nn.Linear):
        get_targets = staticmethod(lambda sample, output: sample["target"])
        get_normalized_probs = staticmethod(lambda output, log_probs: output[0].log_softmax(-1))

        def forward(self, src_tokens, src_lengths, prev_output_tokens):
            logits = torch.nn.functional.one_hot(prev_output_tokens, classes).float()
            return 20 * logits, None

    Knows.get_normalized_probs.__module__ = "fairseq.models"
    chosen = mask_of("mixed", setup)
    choose(monkeypatch, chosen)
    _, _, log = setup.criterion(Knows(1, 1).train(), sample)
    tokens = sample["target"].ne(PAD).sum(1)
    assert log["total"] == log["n_correct"] == tokens.sum() + tokens[chosen].sum()


@pytest.mark.parametrize("kind", ["mixed", "none", "all"])
@pytest.mark.parametrize("views", [2, 3])
def test_the_cost_is_a_row_for_each_view(transformer, monkeypatch, kind, views):
    setup = transformer(*OPTIONS, f"--rdrop-views={views}")
    setup.model.train()
    chosen, rows = mask_of(kind, setup), rows_of_passes(setup.model)
    choose(monkeypatch, chosen)
    setup.criterion(setup.model, setup.sample)
    assert rows == [len(chosen) + (views - 1) * int(chosen.sum())]


def test_a_rank_logs_the_same_types_whatever_it_has_chosen(transformer, monkeypatch):
    """fairseq adds tensors and numbers of the ranks up apart, each in the order of its keys."""
    setup = transformer(*OPTIONS, "--report-accuracy")
    setup.model.train()
    found = []
    for kind in ("mixed", "none", "all"):
        choose(monkeypatch, mask_of(kind, setup))
        log = setup.criterion(setup.model, setup.sample)[2]
        found.append([(key, torch.is_tensor(value)) for key, value in log.items()])
    assert found[0] == found[1] == found[2]


def test_a_share_of_1_is_rdrop_to_the_last_digit_and_draws_no_number(transformer):
    for share in ((), ("--rdrop-share=1",)):
        setup = transformer("--dropout=0.4", *share)
        setup.model.train()
        torch.manual_seed(5)
        loss, _, _ = setup.criterion(setup.model, setup.sample)
        drawn = torch.get_rng_state()
        torch.manual_seed(5)
        logits = setup.model(**repeat_sample(setup.sample)["net_input"], features_only=True)
        assert torch.equal(drawn, torch.get_rng_state())
        by_view = logits[0].unflatten(0, (-1, 2)).transpose(0, 1).flatten(1, 2)
        head, target = setup.criterion.head(setup.model), setup.sample["target"].flatten()
        assert loss == head.loss(by_view, target, 5.0, SMOOTHING, PAD).loss


def test_each_sentence_is_chosen_with_the_probability_of_the_share():
    torch.manual_seed(1)
    size, draws = 7, 4000
    for share in (0.05, 0.5, 0.9):
        chosen = torch.stack([choose_sentences(size, share) for _ in range(draws)])
        counts = set(chosen.sum(1).tolist())
        assert counts <= {int(share * size), int(share * size) + 1}
        error = (chosen.double().mean(0) - share).abs()
        assert (error < 4.5 * (share * (1 - share) / draws) ** 0.5).all()


def draws(setup, times):
    """``(times, 1 + parameters)``: loss and gradient with other masks and choices each time."""
    setup.model.train()
    sample = {"ntokens": 1, "target": setup.sample["target"][:5]}
    sample["net_input"] = {name: rows[:5] for name, rows in setup.sample["net_input"].items()}
    found = []
    for seed in range(times):
        torch.manual_seed(seed)
        setup.model.zero_grad()
        loss, _, _ = setup.criterion(setup.model, sample)
        loss.backward()
        gradients = [p.grad.flatten() for p in setup.model.parameters() if p.grad is not None]
        found.append(torch.cat([loss.detach().view(1), *gradients]).double())
    return torch.stack(found)


def errors(found, expected):
    """How many standard errors the means are apart: of the loss, and of projected gradients."""
    directions = torch.randn(found.size(1), 20, generator=torch.Generator().manual_seed(3)).double()
    directions[0], directions[:, 0], directions[0, 0] = 0, 0, 1
    directions[1:, 1] = expected.mean(0)[1:]
    one, other = (x @ directions for x in (found, expected))
    standard_error = (one.var(0) / len(one) + other.var(0) / len(other)).sqrt()
    return (one.mean(0) - other.mean(0)).abs() / standard_error


UNLIKE = ("--view-cutoff=0.1", "--rdrop-second-dropout=0.3", "--rdrop-second-view=addrop")


@pytest.mark.parametrize("option", ("--rdrop-views=2", *UNLIKE))
def test_a_view_stands_for_those_that_are_like_it(transformer, option):
    criterion = transformer(option, "--rdrop-share=0.25").criterion
    many, one = (criterion.weights_of(Group(slice(None), torch.zeros(n, 1))) for n in (2, 1))
    whole = rdrop_weights(2)
    if option in UNLIKE:
        assert many == ViewWeights((1.0, 4.0), whole.kl) and one.cross_entropy == (1.0,)
    else:
        assert many == whole and one.cross_entropy == (2.0,)


def test_the_first_view_of_simcut_stands_for_itself(transformer):
    simcut = "--criterion=simcut_label_smoothed_cross_entropy"
    criterion = transformer(simcut, "--rdrop-share=0.25").criterion
    many, one = (criterion.weights_of(Group(slice(None), torch.zeros(n, 1))) for n in (2, 1))
    assert many == SIMCUT_WEIGHTS and one.cross_entropy == (1.0,)


def test_a_share_of_views_that_differ_keeps_the_expectation_too(transformer, monkeypatch):
    options = ("--dropout=0.2", "--reg-alpha=1", "--rdrop-second-dropout=0.8")
    whole, part = transformer(*options), transformer(*options, "--rdrop-share=0.5")
    expected = draws(whole, 200)
    assert errors(draws(part, 400), expected).max() < 4
    monkeypatch.setattr(TwoPasses, "are_alike", True)
    assert errors(draws(part, 400), expected)[:2].max() > 6


def test_the_expected_loss_and_gradient_are_those_of_rdrop(transformer, monkeypatch):
    options = ("--dropout=0.2", "--reg-alpha=20")
    whole, part = transformer(*options), transformer(*options, "--rdrop-share=0.5")
    expected = draws(whole, 100)
    assert errors(draws(part, 200), expected).max() < 4
    of_share = ViewsCriterion.loss_of_groups

    def with_half_of_alpha(self, head, groups, target, alpha, reduce):
        return of_share(self, head, groups, target, alpha / 2, reduce)

    def without_sentences_of_one_view(self, head, groups, target, alpha, reduce):
        return of_share(self, head, groups[:1], target, alpha, reduce)

    for broken in (with_half_of_alpha, without_sentences_of_one_view):
        monkeypatch.setattr(ViewsCriterion, "loss_of_groups", broken)
        assert errors(draws(part, 50), expected)[:2].max() > 6
    monkeypatch.setattr(ViewsCriterion, "loss_of_groups", of_share)
    monkeypatch.setattr(ViewWeights, "of_one_view", lambda self: ViewWeights((1.0,), ((0.0,),)))
    assert errors(draws(part, 50), expected)[:2].max() > 6
