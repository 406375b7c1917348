"""How often the host waits for the device in an update: for R-Drop once more than in fairseq's own.

One number more, the KL, is read by fairseq's log where it reads the others.
"""

import pytest
import torch
from helpers.constants import RDROP, TINY_TRANSFORMER
from helpers.models import LANGUAGE_MODEL
from helpers.sentences import CLASSES, LABELS, NUMBERS, write_sentences
from helpers.waiting import Waits

from rdrop_fairseq.losses import backward
from rdrop_fairseq.losses.fused import fused_rdrop_loss, linear_rdrop_loss
from rdrop_fairseq.transfer import to_device


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


def waits_of_an_update(trainer, sample):
    """The files in which the host waits, in the second update."""
    trainer.begin_epoch(1)
    trainer.train_step([sample])
    with Waits() as waits:
        trainer.train_step([sample])
    return [where.split(":")[0] for _, where in waits.found]


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("precision", [(), ("--memory-efficient-fp16",)], ids=["fp32", "fp16"])
def test_an_update_waits_once_more_than_a_plain_one(trainer, precision, views):
    def waits(*arguments):
        places = waits_of_an_update(*trainer(*TINY_TRANSFORMER, *arguments, *precision))
        in_log = sum(place.endswith("meters.py") for place in places)
        return len(places) - in_log, in_log

    plain, numbers = waits("--criterion=label_smoothed_cross_entropy")
    assert plain > 5 and numbers > 1
    assert waits(*RDROP, f"--rdrop-views={views}") == (plain + 1, numbers + 1)


def own_waits(trainer, sample):
    """How often the host waits in the code of this project, or in a backward pass."""
    places = waits_of_an_update(trainer, sample)
    return sum(
        "/rdrop_fairseq/" in place or place.endswith("fairseq_optimizer.py") for place in places
    )


ADDROP = ("--criterion=addrop_label_smoothed_cross_entropy", "--no-cross-tuning")
# The waits of fairseq's model, which another pass of it has too, are not counted.
OWN_WAITS = {
    ("--criterion=label_smoothed_cross_entropy",): 0,
    RDROP: 1,
    (*RDROP, "--view-cutoff=0.1"): 1,
    (*RDROP, "--rdrop-second-dropout=0.2"): 1,
    (*RDROP, "--rdrop-second-view=addrop"): 2,
    (*RDROP, "--rdrop-share=0.5"): 3,
    (*RDROP, "--rdrop-share=0.5", "--rdrop-second-dropout=0.2", "--view-cutoff=0.1"): 3,
    (*RDROP, "--report-accuracy"): 3,  # of which fairseq's criterion has two
    (*RDROP, "--rdrop-loss=reference"): 0,
    ("--criterion=simcut_label_smoothed_cross_entropy",): 1,
    ADDROP: 1,
    (*ADDROP, "--addrop-attribution=attention"): 1,
    (*ADDROP, "--addrop-attribution=integrated", "--addrop-steps=2"): 3,
    (*ADDROP, "--addrop-attribution=random"): 0,
}


@pytest.mark.parametrize("arguments", OWN_WAITS, ids=lambda words: " ".join(words[:1] + words[2:]))
def test_how_often_an_update_waits_with_each_option(trainer, arguments):
    assert own_waits(*trainer(*TINY_TRANSFORMER, *arguments)) == OWN_WAITS[arguments]


def test_an_adaptive_softmax_waits_once_more_than_it_has_parts(trainer, corpus):
    clusters = ("--adaptive-softmax-cutoff=10,20", "--ddp-backend=legacy_ddp")
    model = (*LANGUAGE_MODEL, "--tokens-per-sample=20", *clusters)
    places = waits_of_an_update(
        *trainer(*model, "--criterion=adaptive_loss", data=corpus.monolingual)
    )
    of_fairseq = sum("adaptive" in place for place in places)
    found = own_waits(*trainer(*model, "--criterion=rdrop_adaptive_loss", data=corpus.monolingual))
    assert (found, of_fairseq) == (4, 14)


@pytest.mark.parametrize("kind", ["classes", "partly", "numbers"])
def test_sentences_wait_for_the_check_of_their_labels_and_their_number(trainer, tmp_path, kind):
    labels = {
        "classes": [LABELS[number % 3] for number in range(11)],
        "partly": ["<pad>", *(LABELS[number % 3] for number in range(10))],
        "numbers": [0.3 * number for number in range(11)],
    }[kind]
    data = write_sentences(tmp_path / kind, labels, numbers=kind == "numbers")
    model = NUMBERS if kind == "numbers" else CLASSES
    assert own_waits(*trainer(*model, data=data)) == (1 if kind == "numbers" else 2)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x[x > 0],
        lambda x: x[torch.arange(2)],
        lambda x: torch.ones(3).to(x.device),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: x.masked_select(x > 0),
        lambda x: x.nonzero(),
        lambda x: x.sum().item(),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.numpy(),
        lambda x: x[[0, 1]],
        lambda x: torch.randint(3, (3,)).to(x.device),
        lambda x: x.new_tensor([1.0]),
        lambda x: torch.tensor([1.0], device=x.device),
        lambda x: x.repeat_interleave(x.long()),
        lambda x: x.clone().index_put_((x > 0,), x),
        lambda x: 1 if x.sum() else 2,
    ],
)
def test_what_waits_is_noticed(wait):
    on_device = torch.ones(3)
    with Waits() as waits:
        wait(on_device)
    assert waits.found


def test_a_copy_to_a_gpu_comes_from_pinned_memory():
    """Which no GPU is needed for to see."""

    class OnHost:
        is_pinned = False

        def pin_memory(self):
            self.is_pinned = True
            return self

        def to(self, device, non_blocking):
            return device.type, self.is_pinned, non_blocking

    assert to_device(OnHost(), torch.device("cuda")) == ("cuda", True, True)
    assert to_device(OnHost(), torch.device("cpu")) == ("cpu", False, True)


@pytest.mark.parametrize(
    "work",
    [
        lambda x: torch.rand(3)[torch.randperm(3)[:2]].nonzero().tolist(),
        lambda x: x[torch.arange(2).to(x.device, non_blocking=True)],
        lambda x: x + torch.tensor(1.0),
    ],
)
def test_what_the_host_does_alone_is_no_wait(work):
    on_device = torch.ones(3)
    with Waits() as waits:
        work(on_device)
    assert not waits.found
