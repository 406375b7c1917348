"""The criterion on a real batch of a real task, against fairseq's own criterion."""

import copy
import logging
import math

import pytest
import torch
from helpers.constants import NO_DROPOUT
from helpers.criteria import logged, plain_criterion

from rdrop_fairseq.losses.reference import rdrop_loss
from rdrop_fairseq.views.repeat import repeat_sample, split_views


@pytest.mark.parametrize("prefix", [0, 1])
def test_training_loss_is_the_reference_on_the_views_of_one_pass(transformer, prefix):
    setup = transformer(f"--ignore-prefix-size={prefix}", "--reg-alpha=3")
    setup.model.train()
    sample = setup.sample
    torch.manual_seed(5)
    loss, sample_size, log = setup.criterion(setup.model, sample)

    torch.manual_seed(5)
    logits = setup.model(**repeat_sample(sample)["net_input"])[0]
    views = split_views(logits)[:, :, prefix:]
    expected = rdrop_loss(views, sample["target"][:, prefix:], 3.0, 0.1, padding_idx=1)
    torch.testing.assert_close(loss, expected.loss, rtol=1e-6, atol=0)
    torch.testing.assert_close(log["kl_loss"], expected.kl_loss, rtol=1e-5, atol=0)
    assert log["kl_loss"] > 0
    assert sample_size == log["ntokens"] == sample["ntokens"]


def test_with_dropout_0_the_loss_is_twice_the_plain_one_and_its_log_is_per_view(transformer):
    setup = transformer(*NO_DROPOUT, "--report-accuracy")
    setup.model.train()
    plain = plain_criterion(setup)
    loss, _, log = setup.criterion(setup.model, setup.sample)
    plain_loss, _, plain_log = plain(setup.model, setup.sample)
    torch.testing.assert_close(loss, 2 * plain_loss)
    ours, theirs = logged(setup.criterion, log), logged(plain, plain_log)
    assert ours["kl_loss"] == 0
    for name in ("nll_loss", "ppl", "accuracy"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-5)
    assert ours["loss"] == pytest.approx(2 * theirs["loss"], abs=2e-3)


@pytest.mark.parametrize(
    "arguments", [(), ("--sentence-avg",), ("--ignore-prefix-size=1",), ("--report-accuracy",)]
)
def test_validation_is_label_smoothed_cross_entropy_to_the_last_digit(transformer, arguments):
    setup = transformer(*arguments)
    setup.model.eval()
    plain = plain_criterion(setup)
    loss, sample_size, log = setup.criterion(setup.model, setup.sample)
    plain_loss, plain_sample_size, plain_log = plain(setup.model, setup.sample)
    assert loss == plain_loss
    assert sample_size == plain_sample_size
    assert log == plain_log
    assert logged(setup.criterion, log) == logged(plain, plain_log)


def test_sentence_avg_counts_the_sentences_of_one_view(transformer):
    setup = transformer("--sentence-avg")
    setup.model.train()
    _, sample_size, log = setup.criterion(setup.model, setup.sample)
    assert sample_size == log["nsentences"] == setup.sample["target"].size(0)


def test_accuracy_counts_the_tokens_of_both_views(transformer):
    setup = transformer("--report-accuracy", "--ignore-prefix-size=1")
    setup.model.train()
    _, _, log = setup.criterion(setup.model, setup.sample)
    assert log["total"] == 2 * setup.sample["target"][:, 1:].ne(1).sum()
    assert 0 <= log["n_correct"] <= log["total"]


def test_the_samples_of_trainer_and_validation_are_not_changed(transformer):
    setup = transformer()
    before = copy.deepcopy(setup.sample)
    setup.model.train()
    setup.criterion(setup.model, setup.sample)
    assert repr(setup.sample) == repr(before)


def test_losses_are_float32_for_half_precision_models(transformer):
    for dtype in (torch.bfloat16, torch.float16):
        setup = transformer()
        setup.model.to(dtype).train()
        loss, _, log = setup.criterion(setup.model, setup.sample)
        assert loss.dtype == log["kl_loss"].dtype == torch.float32
        loss.backward()
        gradients = [p.grad for p in setup.model.parameters() if p.grad is not None]
        assert gradients and all(gradient.isfinite().all() for gradient in gradients)


def test_unreduced_loss_has_one_value_a_target_token(transformer):
    setup = transformer()
    setup.model.train()
    torch.manual_seed(5)
    loss, _, _ = setup.criterion(setup.model, setup.sample, reduce=False)
    assert loss.shape == (setup.sample["target"].numel(),)
    torch.manual_seed(5)
    total, _, _ = setup.criterion(setup.model, setup.sample)
    torch.testing.assert_close(loss.sum(), total)


def test_logged_kl_is_in_bits_per_target_token_over_all_workers(transformer):
    setup = transformer()
    setup.model.train()
    logs = [setup.criterion(setup.model, setup.sample)[2] for _ in range(2)]
    kl = sum(log["kl_loss"].item() for log in logs) / sum(log["ntokens"] for log in logs)
    assert logged(setup.criterion, *logs)["kl_loss"] == pytest.approx(kl / math.log(2), abs=1e-3)
    assert setup.criterion.logging_outputs_can_be_summed()


def test_no_dropout_at_all_is_warned_of_once(transformer, caplog):
    setup = transformer(*NO_DROPOUT)
    setup.model.train()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            setup.criterion(setup.model, setup.sample)
    warnings = [message for message in caplog.messages if "every dropout" in message]
    assert len(warnings) == 1
    assert "--attention-dropout" in warnings[0]
    assert "LayerDrop" not in warnings[0]


@pytest.mark.parametrize(
    "noise",
    [
        ("--encoder-layerdrop=0.5", "--encoder-layers=4"),
        ("--decoder-layerdrop=0.5", "--decoder-layers=4"),
        ("--quant-noise-pq=0.5", "--quant-noise-pq-block-size=4"),
    ],
)
def test_noise_that_both_views_share_is_warned_of_by_name(transformer, caplog, noise):
    setup = transformer(*NO_DROPOUT, *noise)
    setup.model.train()
    _, _, log = setup.criterion(setup.model, setup.sample)
    assert log["kl_loss"] == pytest.approx(0, abs=1e-5)
    (warning,) = (message for message in caplog.messages if "every dropout" in message)
    assert "LayerDrop and quantisation noise, which this model has, are drawn once" in warning


SECOND_RATE = "--rdrop-second-dropout=0.3"
ATTENTION = ("--rdrop-second-view=addrop", "--addrop-p=1", "--addrop-q=0.9")


@pytest.mark.parametrize(
    ("options", "differ"),
    [
        ((SECOND_RATE,), False),
        ((SECOND_RATE, "--encoder-layerdrop=0.5", "--encoder-layers=4"), True),
        (ATTENTION, True),
    ],
)
def test_a_pass_of_its_own_draws_its_own_noise(transformer, caplog, options, differ):
    setup = transformer(*NO_DROPOUT, *options)
    setup.model.train()
    torch.manual_seed(1)
    _, _, log = setup.criterion(setup.model, setup.sample)
    assert (log["kl_loss"] > 1e-3) == differ
    assert any("every dropout" in message for message in caplog.messages) != differ


@pytest.mark.parametrize(
    "one_dropout", ["--dropout=0.1", "--attention-dropout=0.1", "--activation-dropout=0.1"]
)
def test_any_dropout_makes_the_views_differ_and_is_not_warned_of(transformer, caplog, one_dropout):
    setup = transformer(*NO_DROPOUT, one_dropout)
    setup.model.train()
    _, _, log = setup.criterion(setup.model, setup.sample)
    assert log["kl_loss"] > 0
    assert "every dropout" not in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reg_alpha", -1.0),
        ("reg_alpha", math.nan),
        ("reg_alpha", math.inf),
        ("label_smoothing", 1.0),
        ("label_smoothing", -0.1),
    ],
)
def test_values_out_of_range_are_refused_by_flag_and_value(transformer, name, value):
    """As they come from a YAML file; on the command line the parser refuses them."""
    setup = transformer()
    cfg = copy.deepcopy(setup.cfg.criterion)
    cfg[name] = value
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')}.* {value}"):
        type(setup.criterion)(cfg, setup.task)


def test_adaptive_softmax_is_refused_with_what_to_do(transformer):
    setup = transformer("--adaptive-softmax-cutoff=10,20")
    setup.model.train()
    with pytest.raises(NotImplementedError, match="--adaptive-softmax-cutoff"):
        setup.criterion(setup.model, setup.sample)
