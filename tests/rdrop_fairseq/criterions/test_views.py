"""Three and four views, a second dropout rate and a cutoff, through criterion and trainer."""

import copy
import itertools
import math

import pytest
import torch
from fairseq.modules import FairseqDropout
from helpers.constants import PAD, RDROP, TINY_TRANSFORMER
from helpers.criteria import logged, rows_of_passes

from rdrop_fairseq.views.cutoff import cut_tokens
from rdrop_fairseq.views.repeat import repeat_sample

ALPHA, SMOOTHING = 3.0, 0.1


def definition(logits, target):
    """Loss, mean nll and mean symmetric KL of views ``(M, B, T, V)``, as DESIGN.md defines them."""
    logs, mask = logits.log_softmax(-1), target.ne(PAD)
    classes = logits.size(-1)
    smoothed = torch.full_like(logs[0], SMOOTHING / (classes - 1))
    smoothed.scatter_(-1, target.unsqueeze(-1), 1 - SMOOTHING)
    entropies = [-(smoothed * log).sum(-1)[mask].sum() for log in logs]
    nll = [-log.gather(-1, target.unsqueeze(-1)).squeeze(-1)[mask].sum() for log in logs]
    pairs = [
        ((p.exp() - q.exp()) * (p - q)).sum(-1)[mask].sum() / 2
        for p, q in itertools.combinations(logs, 2)
    ]
    kl = sum(pairs) / len(pairs)
    return sum(entropies) + ALPHA * kl, sum(nll) / len(nll), kl


def assert_defined_by(setup, logits, seed=5):
    """Loss, log and every gradient of the criterion are those of the definition."""
    parameters = list(setup.model.parameters())
    expected = definition(logits, setup.sample["target"])
    gold = torch.autograd.grad(expected[0], parameters, allow_unused=True)
    torch.manual_seed(seed)
    loss, sample_size, log = setup.criterion(setup.model, setup.sample)
    for mine, other in zip((loss, log["nll_loss"], log["kl_loss"]), expected):
        torch.testing.assert_close(mine.detach(), other.detach())
    torch.testing.assert_close(torch.autograd.grad(loss, parameters, allow_unused=True), gold)
    assert sample_size == log["ntokens"] == setup.sample["ntokens"]
    shown = logged(setup.criterion, log)
    assert shown["nll_loss"] == pytest.approx(
        expected[1].item() / sample_size / math.log(2), abs=1e-3
    )


@pytest.mark.parametrize("path", ["fused", "reference"])
@pytest.mark.parametrize("cutoff", [0.0, 0.3])
@pytest.mark.parametrize("views", [2, 3, 4])
def test_views_of_one_pass(transformer, views, cutoff, path):
    options = (f"--rdrop-views={views}", f"--view-cutoff={cutoff}", f"--rdrop-loss={path}")
    setup = transformer(*options, f"--reg-alpha={ALPHA}", "--dropout=0.3")
    setup.model.double().train()
    repeated, rows = repeat_sample(setup.sample, views), len(setup.sample["target"]) * views
    torch.manual_seed(5)
    with cut_tokens(setup.model, cutoff, torch.arange(rows) % views > 0):
        logits = setup.model(**repeated["net_input"])[0]
    assert_defined_by(setup, torch.stack([logits[view::views] for view in range(views)]))


@pytest.mark.parametrize("path", ["fused", "reference"])
def test_views_of_two_rates(transformer, path):
    options = ("--rdrop-second-dropout=0.6", f"--rdrop-loss={path}", f"--reg-alpha={ALPHA}")
    setup = transformer(*options, "--dropout=0.3")
    setup.model.double().train()
    torch.manual_seed(5)
    other = copy.deepcopy(setup.model)
    other.load_state_dict(setup.model.state_dict())
    for module in other.modules():
        if isinstance(module, FairseqDropout) and module.p:
            module.p = 0.6
    for mine, theirs in zip(setup.model.modules(), other.modules()):
        theirs._parameters = mine._parameters  # the same weights, whose gradients add up
    logits = [model(**setup.sample["net_input"])[0] for model in (setup.model, other)]
    assert_defined_by(setup, torch.stack(logits))


OPTIONS = {
    "three views": ("--rdrop-views=3",),
    "four views of a share": ("--rdrop-views=4", "--rdrop-share=0.5"),
    "cutoff": ("--view-cutoff=0.2",),
    "two rates": ("--rdrop-second-dropout=0.3", "--rdrop-share=0.5", "--view-cutoff=0.2"),
    "simcut": ("--criterion=simcut_label_smoothed_cross_entropy",),
    "simcut of a share": ("--criterion=simcut_label_smoothed_cross_entropy", "--rdrop-share=0.5"),
}


@pytest.mark.parametrize("precision", [(), ("--memory-efficient-fp16",)], ids=["fp32", "fp16"])
@pytest.mark.parametrize("name", OPTIONS)
def test_the_trainer_learns_with_two_batches_an_update(trainer, name, precision):
    one, sample = trainer(*TINY_TRANSFORMER, *RDROP, *OPTIONS[name], *precision)
    logs = [one.train_step([sample, sample]) for _ in range(7)]
    logs = [log for log in logs if log]  # not those that overflow
    assert logs[-1]["nll_loss"] < logs[0]["nll_loss"] - 0.05
    for log in logs:
        assert math.isfinite(log["loss"]) and log["kl_loss"] > 0
        assert 0.4 < log["rdrop_share"] < 0.6 if "share" in name else True


def test_passes_of_three_views(transformer):
    setup = transformer("--rdrop-views=3")
    rows = rows_of_passes(setup.model)
    setup.criterion(setup.model.train(), setup.sample)
    assert rows == [3 * len(setup.sample["target"])]


def test_a_second_rate_is_for_two_views(transformer):
    setup = transformer()
    cfg = copy.deepcopy(setup.cfg.criterion)
    cfg.rdrop_views, cfg.rdrop_second_dropout = 3, 0.2
    with pytest.raises(ValueError, match="--rdrop-second-dropout is for two passes, not for") as e:
        type(setup.criterion)(cfg, setup.task)
    assert "\n" not in str(e.value)


def test_a_cutoff_makes_the_views_differ_without_dropout(transformer, caplog):
    no_dropout = ("--dropout=0", "--attention-dropout=0", "--activation-dropout=0")
    setup = transformer(*no_dropout, "--view-cutoff=0.2")
    assert setup.criterion(setup.model.train(), setup.sample)[2]["kl_loss"] > 0
    assert "every dropout" not in caplog.text
