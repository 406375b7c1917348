"""``rdrop_adaptive_loss`` on a real batch, against its definition and fairseq's own criterion."""

import copy
import math

import pytest
import torch
from fairseq.criterions.adaptive_loss import AdaptiveLoss
from fairseq.distributed import ModuleProxyWrapper
from fairseq.modules import AdaptiveInput, AdaptiveSoftmax
from fairseq.modules.quant_noise import quant_noise
from fairseq.trainer import Trainer
from helpers.constants import NO_DROPOUT, PAD, TINY_TRANSFORMER
from helpers.criteria import logged
from helpers.dropped_terms import use_kernel, without_p_minus_q
from helpers.models import LANGUAGE_MODEL
from helpers.parity import assert_the_numbers_of_the_reference

from rdrop_fairseq.adaptive_head import head_weight
from rdrop_fairseq.views.repeat import repeat_sample, split_views

CRITERION = ("--criterion=rdrop_adaptive_loss", "--ddp-backend=legacy_ddp")
CUTOFFS = ("--adaptive-softmax-cutoff=10,20", "--adaptive-softmax-factor=2")
INPUTS = ("--adaptive-input", "--adaptive-input-cutoff=10,20", "--adaptive-input-factor=2")
WIDTHS = ("--decoder-input-dim=16", "--decoder-output-dim=16")
TIED = (*CUTOFFS, *INPUTS, *WIDTHS, "--tie-adaptive-weights")
MODELS = {
    "untied": CUTOFFS,
    "adaptive inputs": (*CUTOFFS, *INPUTS, *WIDTHS),
    "tied": TIED,
    "tied with projections": (*TIED, "--tie-adaptive-proj"),
}


@pytest.fixture
def adaptive(built, corpus):
    """Build the tiny language model with an adaptive softmax, or another that is named."""

    def build(*arguments, model="untied"):
        words = (*LANGUAGE_MODEL, "--tokens-per-sample=20", *MODELS[model], *CRITERION)
        return built(corpus.monolingual, *words, *arguments)

    return build


def definition(setup, alpha, seed):
    """Loss, nll and KL of fairseq's own clusters; without dropout in the adaptive softmax."""
    torch.manual_seed(seed)
    repeated = repeat_sample(setup.sample)
    rows = setup.model(**repeated["net_input"])[0]
    softmax, target = setup.model.decoder.adaptive_softmax, setup.sample["target"]
    views = [softmax(view.contiguous(), target) for view in split_views(rows)]
    loss = nll = kl = 0
    for z, other_z, classes in zip(views[0][0], views[1][0], views[0][1]):
        if classes is None:
            continue
        mask = classes.ne(PAD)
        p, q = (x[mask].log_softmax(-1) for x in (z, other_z))
        of_target = torch.nn.functional.one_hot(classes[mask], z.size(-1))
        cross_entropy = -(of_target * (p + q)).sum()
        of_pair = ((p.exp() * (p - q)).sum() + (q.exp() * (q - p)).sum()) / 2
        loss, nll = loss + cross_entropy + alpha * of_pair, nll + cross_entropy / 2
        kl = kl + of_pair
    return loss, nll, kl


def gradients_of(setup, loss):
    return torch.autograd.grad(loss, list(setup.model.parameters()), allow_unused=True)


@pytest.mark.parametrize("path", ["fused", "reference"])
@pytest.mark.parametrize("model", MODELS)
def test_loss_log_and_gradients_are_those_of_fairseqs_clusters(adaptive, model, path):
    setup = adaptive("--dropout=0.3", "--reg-alpha=0.7", f"--rdrop-loss={path}", model=model)
    setup.model.double().train()
    expected = definition(setup, 0.7, seed=5)
    torch.manual_seed(5)
    loss, sample_size, log = setup.criterion(setup.model, setup.sample)
    for mine, other in zip((loss, log["nll_loss"], log["kl_loss"]), expected):
        torch.testing.assert_close(mine.detach(), other.detach())
    torch.testing.assert_close(gradients_of(setup, loss), gradients_of(setup, expected[0]))
    assert sample_size == log["ntokens"] == setup.sample["ntokens"]
    shown = logged(setup.criterion, log)
    bits = {name: log[name].item() / sample_size / math.log(2) for name in ("loss", "nll_loss")}
    assert shown["loss"] == pytest.approx(bits["loss"], abs=1e-3)
    assert shown["ppl"] == pytest.approx(2 ** bits["nll_loss"], rel=1e-2)


@pytest.mark.parametrize("narrow", [8, 16])
def test_a_head_that_is_tied_to_narrower_words_is_one_projection(narrow):
    inputs = AdaptiveInput(30, PAD, narrow, 2, 16, [10, 20])
    softmax = AdaptiveSoftmax(30, 16, [10, 20], 0, 2, adaptive_inputs=inputs)
    features = torch.randn(5, 16)
    torch.testing.assert_close(features @ head_weight(softmax.head).t(), softmax.head(features))


def test_a_dropped_term_is_noticed(adaptive, monkeypatch):
    setup = adaptive("--dropout=0.5", model="tied")
    assert_the_numbers_of_the_reference(setup.model, setup.criterion, setup.sample)
    use_kernel(monkeypatch, without_p_minus_q)
    with pytest.raises(AssertionError, match="not close"):
        assert_the_numbers_of_the_reference(setup.model, setup.criterion, setup.sample)


@pytest.mark.parametrize("arguments", [(), ("--sentence-avg",)])
@pytest.mark.parametrize("model", ["untied", "tied with projections"])
def test_validation_is_adaptive_loss_to_the_last_digit(adaptive, model, arguments):
    setup = adaptive(*arguments, model=model)
    setup.model.eval()
    plain = AdaptiveLoss(setup.task, setup.criterion.sentence_avg)
    loss, sample_size, log = setup.criterion(setup.model, setup.sample)
    plain_loss, plain_sample_size, plain_log = plain(setup.model, setup.sample)
    assert (loss, sample_size, log) == (plain_loss, plain_sample_size, plain_log)
    assert logged(setup.criterion, log) == logged(plain, plain_log)


@pytest.mark.parametrize("arguments", [("--reg-alpha=0",), ("--rdrop-start-update=1",)])
def test_without_a_second_pass_it_is_adaptive_loss_to_the_last_digit(adaptive, arguments):
    setup = adaptive(*arguments)
    setup.model.train()
    setup.criterion.set_num_updates(0)
    plain = AdaptiveLoss(setup.task, setup.criterion.sentence_avg)
    torch.manual_seed(3)
    loss, _, log = setup.criterion(setup.model, setup.sample)
    torch.manual_seed(3)
    plain_loss, _, plain_log = plain(setup.model, setup.sample)
    assert loss == plain_loss
    ours, theirs = logged(setup.criterion, log), logged(plain, plain_log)
    assert all(ours[name] == theirs[name] for name in theirs)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--rdrop-share=0.5",),
        ("--rdrop-views=3",),
        ("--view-cutoff=0.3",),
        ("--rdrop-second-dropout=0.5",),
        ("--rdrop-second-dropout=0.5", "--rdrop-share=0.5"),
    ],
)
def test_the_views_of_the_base_work(adaptive, arguments):
    setup = adaptive("--dropout=0.2", "--adaptive-softmax-dropout=0.2", *arguments, model="tied")
    assert_the_numbers_of_the_reference(setup.model, setup.criterion, setup.sample)
    _, _, log = setup.criterion(setup.model, setup.sample)
    assert log["kl_loss"] > 0 and log["rdrop_ntokens"] > 0


def test_the_second_rate_reaches_the_dropout_of_the_tails(adaptive, monkeypatch):
    """Nothing else is dropped, so with the rate 0 in both views their KL is 0."""
    quiet = ("--dropout=0", "--attention-dropout=0", "--activation-dropout=0")
    setup = adaptive(*quiet, "--adaptive-softmax-dropout=0.3", "--rdrop-second-dropout=0.3")
    setup.model.train()
    assert setup.criterion(setup.model, setup.sample)[2]["kl_loss"] > 0
    rates = []
    for tail in setup.model.decoder.adaptive_softmax.tail:
        tail[1].register_forward_pre_hook(lambda module, inputs: rates.append(module.p))
    setup.criterion.views.second_rate = 0.1
    monkeypatch.setattr("rdrop_fairseq.adaptive_head.has_hooks", lambda module: False)
    setup.criterion(setup.model, setup.sample)
    assert rates == [0.3, 0.3, 0.1, 0.1]


def test_unreduced_loss_has_one_value_a_target_token(adaptive):
    setup = adaptive("--rdrop-share=0.5")
    setup.model.train()
    both = []
    for reduce in (False, True):
        torch.manual_seed(5)
        both.append(setup.criterion(setup.model, setup.sample, reduce=reduce)[0])
    assert both[0].shape == (setup.sample["target"].numel(),)
    torch.testing.assert_close(both[0].sum(), both[1])


def test_the_sample_is_not_changed(adaptive):
    setup = adaptive()
    before = copy.deepcopy(setup.sample)
    setup.criterion(setup.model.train(), setup.sample)
    assert repr(setup.sample) == repr(before)


def test_translation_learns_with_it_too(built, corpus):
    setup = built(corpus.translation, *TINY_TRANSFORMER, *CUTOFFS, *CRITERION, "--reg-alpha=1")
    trainer = Trainer(setup.cfg, setup.task, setup.model, setup.criterion)
    trainer.begin_epoch(1)
    logs = [trainer.train_step([setup.sample]) for _ in range(20)]
    assert logs[-1]["nll_loss"] < 0.9 * logs[0]["nll_loss"]
    assert 0 < logs[-1]["kl_loss"] < math.inf


def test_two_batches_of_an_update_give_the_sum_of_their_gradients(adaptive):
    setup = adaptive(*NO_DROPOUT)
    trainer = Trainer(setup.cfg, setup.task, setup.model, setup.criterion)
    trainer.begin_epoch(1)
    setup.model.train()
    expected = [2 * g for g in gradients_of(setup, setup.criterion(setup.model, setup.sample)[0])]
    found = []
    trainer.optimizer.step = lambda *a, **k: found.extend(
        p.grad.clone() for p in setup.model.parameters()
    )
    log = trainer.train_step([setup.sample, setup.sample])
    size = 2 * setup.sample["ntokens"]
    torch.testing.assert_close(found, [g / size for g in expected])
    assert log["rdrop_share"] == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("model", ["untied", "tied"])
def test_half_precision_gives_a_float32_loss_near_float64s(adaptive, model, dtype):
    setup = adaptive(*NO_DROPOUT, "--view-cutoff=0.3", model=model)
    setup.model.to(dtype).train()
    totals = []
    for kind in (dtype, torch.float64):
        setup.model.to(kind)
        torch.manual_seed(2)
        loss, _, log = setup.criterion(setup.model, setup.sample)
        assert loss.dtype == (torch.float64 if kind == torch.float64 else torch.float32)
        gradients = [g for g in gradients_of(setup, loss) if g is not None]
        assert all(g.dtype == kind and g.isfinite().all() for g in gradients)
        totals.append(loss.double())
    torch.testing.assert_close(*totals, rtol=2e-2, atol=0)


def test_fp16_training_lowers_the_loss(adaptive):
    setup = adaptive("--memory-efficient-fp16", model="tied with projections")
    trainer = Trainer(setup.cfg, setup.task, setup.model, setup.criterion)
    trainer.begin_epoch(1)
    logs = [log for _ in range(12) if (log := trainer.train_step([setup.sample]))]
    assert logs[-1]["nll_loss"] < logs[0]["nll_loss"]


def test_the_default_alpha_is_that_of_the_authors(adaptive):
    assert adaptive().cfg.criterion.reg_alpha == 1.0


REFUSED = {
    "no adaptive softmax": ((), "train with --adaptive-softmax-cutoff, or with rdrop_label"),
    "a second rate with checkpointed layers": (
        (*CUTOFFS, "--rdrop-second-dropout=0.3", "--checkpoint-activations"),
        "--checkpoint-activations",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_that_cannot_be_trained_is_refused_in_a_sentence(built, corpus, kind):
    arguments, what_to_do = REFUSED[kind]
    words = (*LANGUAGE_MODEL, "--tokens-per-sample=20", *arguments, *CRITERION)
    setup = built(corpus.monolingual, *words)
    with pytest.raises(NotImplementedError, match=what_to_do) as error:
        setup.criterion(setup.model.train(), setup.sample)
    assert "\n" not in str(error.value)


def test_a_hook_that_would_be_missed_is_refused_in_a_sentence(adaptive):
    setup = adaptive()
    tail = setup.model.decoder.adaptive_softmax.tail[0]
    quant_noise(tail[2], 0.5, 8)
    with pytest.raises(
        NotImplementedError, match="quantisation noise for example.*train without that hook"
    ):
        setup.criterion(setup.model.train(), setup.sample)


def test_a_hook_that_comes_later_does_not_stop_the_training(adaptive):
    """Such as those with which fairseq looks for a NaN, when the loss is not a number."""
    setup = adaptive()
    setup.criterion(setup.model.train(), setup.sample)
    setup.model.decoder.adaptive_softmax.register_forward_hook(lambda *_: None)
    assert setup.criterion(setup.model, setup.sample)[0].isfinite()


def test_hidden_weights_are_refused_in_a_sentence(adaptive):
    setup = adaptive()
    hidden = type("FullyShardedDataParallel", (torch.nn.Module,), {})()
    hidden.module = setup.model.train()
    hidden.train()
    wrapped = ModuleProxyWrapper(hidden)
    with pytest.raises(NotImplementedError, match="train with --ddp-backend=legacy_ddp"):
        setup.criterion(wrapped, setup.sample)


def test_pytorch_ddp_is_refused_as_fairseq_refuses_it(built, corpus):
    words = (*LANGUAGE_MODEL, *CUTOFFS, *CRITERION, "--ddp-backend=pytorch_ddp")
    with pytest.raises(Exception, match="--ddp-backend=legacy_ddp"):
        built(corpus.monolingual, *words)


@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_an_alpha_out_of_range_is_refused(adaptive, value):
    setup = adaptive()
    cfg = copy.deepcopy(setup.cfg.criterion)
    cfg.reg_alpha = value
    with pytest.raises(ValueError, match=r"alpha \(--reg-alpha\) must be 0 or more"):
        type(setup.criterion)(cfg, setup.task)
