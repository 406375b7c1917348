"""How often the host waits for the device in an update: once more than in fairseq's own.

One number more, the KL, is read by fairseq's log where it reads the others.
"""

import pytest
import torch
from helpers.constants import RDROP, TINY_TRANSFORMER
from helpers.waiting import Waits

from rdrop_fairseq.losses import backward
from rdrop_fairseq.losses.fused import fused_rdrop_loss, linear_rdrop_loss


def from_features(target, padding_idx, **options):
    features = torch.randn(2, *target.shape, 4, requires_grad=True)
    weight = torch.randn(9, 4, requires_grad=True)
    return linear_rdrop_loss(features, weight, None, target, 5.0, 0.1, padding_idx, **options)


def from_logits(target, padding_idx, **options):
    logits = torch.randn(2, *target.shape, 9, requires_grad=True)
    return fused_rdrop_loss(logits, target, 5.0, 0.1, padding_idx, **options)


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch):
    """A factor that is on a CPU can be looked at."""
    monkeypatch.setattr(backward, "_is_known_to_be_one", lambda factor: False)


@pytest.mark.parametrize("padding_idx", [None, 1])
@pytest.mark.parametrize("loss", [from_features, from_logits])
def test_the_loss_waits_once_for_the_number_of_tokens(loss, padding_idx):
    target = torch.randint(0, 9, (3, 5))
    loss(target, padding_idx)  # the weights of the views go to the device once in a training
    with Waits() as waits:
        (loss(target, padding_idx).loss * 128).backward()
    assert [what for what, _ in waits.found] == ["nonzero"]


@pytest.mark.parametrize("loss", [from_features, from_logits])
def test_unequal_factors_of_the_tokens_wait_once_more_at_most(loss):
    target = torch.randint(0, 9, (3, 5))
    loss(target, 1)
    with Waits() as waits:
        (loss(target, 1, reduce=False).loss * torch.rand(3, 5)).sum().backward()
    assert [what for what, _ in waits.found] in (["nonzero"], ["nonzero", "item"])


def waits_of_an_update(trainer, *arguments):
    trainer, sample = trainer(*TINY_TRANSFORMER, *arguments)
    trainer.begin_epoch(1)
    trainer.train_step([sample])
    with Waits() as waits:
        trainer.train_step([sample])
    of_log = [where for _, where in waits.found if where.split(":")[0].endswith("meters.py")]
    return len(waits.found) - len(of_log), len(of_log)


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("precision", [(), ("--memory-efficient-fp16",)], ids=["fp32", "fp16"])
def test_an_update_waits_once_more_than_a_plain_one(trainer, precision, views):
    plain, numbers = waits_of_an_update(
        trainer, "--criterion=label_smoothed_cross_entropy", *precision
    )
    found = waits_of_an_update(trainer, *RDROP, f"--rdrop-views={views}", *precision)
    assert plain > 5 and numbers > 1
    assert found == (plain + 1, numbers + 1)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x[x > 0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.nonzero(),
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: x.new_tensor([1.0]),
        lambda x: torch.tensor([1.0]),
        lambda x: x.repeat_interleave(torch.tensor(2).expand(3)),
        lambda x: x.clone().index_put_((x > 0,), x),
        lambda x: 1 if x.sum() else 2,
    ],
)
def test_what_waits_is_noticed(wait):
    with Waits() as waits:
        wait(torch.tensor(1.0).expand(3))
    assert len(waits.found) > 1  # and the tensor that is made there
