"""SimCut on a real batch of a real task, against its definition and fairseq's own criterion."""

import math

import pytest
import torch
from helpers.constants import NO_DROPOUT, PAD
from helpers.criteria import logged, plain_criterion

from rdrop_fairseq.views.cutoff import cut_tokens
from rdrop_fairseq.views.repeat import repeat_sample

CRITERION = "--criterion=simcut_label_smoothed_cross_entropy"
SMOOTHING, CUTOFF = 0.1, 0.3


def definition(p, q, target, alpha):
    """``LS(p) + alpha KL(p || q)`` of log-probabilities ``(N, V)``: loss, nll and KL."""
    smoothed = torch.full_like(p, SMOOTHING / (p.size(-1) - 1))
    smoothed.scatter_(-1, target.unsqueeze(-1), 1 - SMOOTHING)
    kl = torch.nn.functional.kl_div(q, p, reduction="sum", log_target=True)
    nll = torch.nn.functional.nll_loss(p, target, reduction="sum")
    return -(smoothed * p).sum() + alpha * kl, nll, kl


def views_by_hand(setup):
    """Log-probabilities of the whole view and of the cut one, and the targets."""
    repeated, target = repeat_sample(setup.sample), setup.sample["target"]
    torch.manual_seed(5)
    with cut_tokens(setup.model, CUTOFF, torch.arange(2 * len(target)) % 2 > 0):
        logs = setup.model(**repeated["net_input"])[0].log_softmax(-1)
    mask = target.ne(PAD)
    return logs[::2][mask], logs[1::2][mask], target[mask]


def gradients_of(setup, loss):
    return torch.autograd.grad(loss, list(setup.model.parameters()), allow_unused=True)


@pytest.fixture(params=["fused", "reference", "fused, from logits"])
def simcut(request, transformer):
    """Build a model and SimCut in float64."""
    path, *from_logits = request.param.split(", ")
    more = (f"--rdrop-loss={path}", *(("--report-accuracy",) if from_logits else ()))
    setup = transformer(CRITERION, f"--view-cutoff={CUTOFF}", *more, "--dropout=0.3")
    setup.model.double().train()
    return setup


def test_loss_log_and_gradients_are_those_of_the_definition(simcut):
    expected = definition(*views_by_hand(simcut), 3.0)
    torch.manual_seed(5)
    loss, sample_size, log = simcut.criterion(simcut.model, simcut.sample)
    for mine, other in zip((loss, log["nll_loss"], log["kl_loss"]), expected):
        torch.testing.assert_close(mine.detach(), other.detach())
    torch.testing.assert_close(gradients_of(simcut, loss), gradients_of(simcut, expected[0]))
    assert sample_size == log["ntokens"] == simcut.sample["ntokens"]
    nll = logged(simcut.criterion, log)["nll_loss"]
    assert nll == pytest.approx(expected[1].item() / sample_size / math.log(2), abs=1e-3)


WRONG = {
    "no gradient through the first view": lambda p, q, t: (
        definition(p, q, t, 0)[0] + 3 * definition(p.detach(), q, t, 1)[2]
    ),
    "no gradient through the second view": lambda p, q, t: definition(p, q.detach(), t, 3)[0],
    "the other direction": lambda p, q, t: (
        definition(p, q, t, 0)[0] + 3 * definition(q, p, t, 1)[2]
    ),
    "both cross-entropies": lambda p, q, t: definition(p, q, t, 3)[0] + definition(q, p, t, 0)[0],
    "the other view's cross-entropy": lambda p, q, t: (
        definition(q, p, t, 0)[0] + 3 * definition(p, q, t, 1)[2]
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_another_gradient_is_noticed(transformer, name):
    setup = transformer(CRITERION, f"--view-cutoff={CUTOFF}", "--dropout=0.3")
    setup.model.double().train()
    wrong = gradients_of(setup, WRONG[name](*views_by_hand(setup)))
    torch.manual_seed(5)
    loss, _, _ = setup.criterion(setup.model, setup.sample)
    with pytest.raises(AssertionError, match="not close"):
        torch.testing.assert_close(gradients_of(setup, loss), wrong)


def test_the_defaults_are_those_of_the_paper(transformer):
    cfg = transformer(CRITERION).cfg.criterion
    assert (cfg.reg_alpha, cfg.view_cutoff) == (3.0, 0.05)


@pytest.mark.parametrize(
    "arguments", [(), ("--sentence-avg",), ("--ignore-prefix-size=1",), ("--report-accuracy",)]
)
def test_validation_is_label_smoothed_cross_entropy_to_the_last_digit(transformer, arguments):
    setup = transformer(CRITERION, *arguments)
    setup.model.eval()
    plain = plain_criterion(setup)
    loss, sample_size, log = setup.criterion(setup.model, setup.sample)
    plain_loss, plain_sample_size, plain_log = plain(setup.model, setup.sample)
    assert (loss, sample_size, log) == (plain_loss, plain_sample_size, plain_log)
    assert logged(setup.criterion, log) == logged(plain, plain_log)


@pytest.mark.parametrize("share", ["0.5", "1"])
def test_the_log_is_that_of_the_view_that_is_not_cut(transformer, share):
    """Without dropout: nll_loss, ppl and accuracy of a plain run, whatever the cutoff."""
    arguments = (
        "--report-accuracy",
        "--view-cutoff=0.9",
        f"--rdrop-share={share}",
        "--reg-alpha=1",
    )
    setup = transformer(CRITERION, *NO_DROPOUT, *arguments, "--reg-alpha=1")
    setup.model.train()
    plain = plain_criterion(setup)
    ours = logged(setup.criterion, setup.criterion(setup.model, setup.sample)[2])
    theirs = logged(plain, plain(setup.model, setup.sample)[2])
    for name in ("nll_loss", "ppl", "accuracy"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-5)
    assert ours["kl_loss"] > 0
    if share == "1":
        kl = ours["kl_loss"]
        assert ours["loss"] == pytest.approx(theirs["loss"] + kl, abs=3e-3)
