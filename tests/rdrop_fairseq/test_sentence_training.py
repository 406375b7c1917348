"""Training on sentences: update frequency, two ranks, resuming, a schedule and fp16."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from helpers.constants import TRAINING, USER_DIR
from helpers.launch import fork
from helpers.ranks import rank_options
from helpers.sentences import CLASSES, LABELS, NO_NOISE, write_sentences
from helpers.trained import NEVER_TRAINED

import rdrop_fairseq.compat.checkpoints  # noqa: F401  (lets torch.load read checkpoints)

SGD = ("--optimizer=sgd", "--lr=0.5", "--clip-norm=0", "--weight-decay=0", "--lr-scheduler=fixed")
COMMAND = (
    *("--task=sentence_prediction", USER_DIR, *TRAINING, *CLASSES),
    *("--reg-alpha=2", "--disable-validation"),
)
DROPOUT = (*COMMAND, "--batch-size=4", "--max-update=6", "--save-interval-updates=3")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """24 sentences, every fourth one without a label."""
    labels = ["<pad>" if number % 4 == 3 else LABELS[number % 3] for number in range(24)]
    folder = tmp_path_factory.mktemp("sentences")
    write_sentences(folder, LABELS, "valid")  # which fairseq 0.12.2 loads in any case
    return write_sentences(folder, labels)


def weights(folder, name="checkpoint_last.pt"):
    model = torch.load(folder / name, weights_only=True)["model"]
    return {key: value for key, value in model.items() if not NEVER_TRAINED.search(key)}


def train(data, folder, *arguments):
    finished = fork("fairseq-train", data, *arguments, f"--save-dir={folder}")
    return finished.stdout


def test_two_ranks_end_with_the_parameters_of_one_process(data, tmp_path):
    """Plain SGD without dropout; half of the updates are plain, in one pass."""
    base = (*COMMAND, *SGD, *NO_NOISE, "--max-update=6", "--rdrop-every=2", "--batch-size=4")
    train(data, tmp_path / "one", *base, "--update-freq=2")
    ranks = (*base, "--ddp-backend=legacy_ddp")
    with ThreadPoolExecutor(2) as pool:
        for rank in (0, 1):
            pool.submit(train, data, tmp_path / "two", *ranks, *rank_options(rank, tmp_path))
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5)


def trainer_on(data, built, *arguments):
    from fairseq.trainer import Trainer

    made = built(data, *CLASSES, *NO_NOISE, *arguments)
    trainer = Trainer(made.cfg, made.task, made.model, made.criterion)
    trainer.reset_dummy_batch(made.sample)
    return trainer, made


def test_an_update_of_several_batches_is_that_of_one_large_batch(data, built):
    results = []
    for batches in ([range(9)], [range(4), range(4, 9)]):
        trainer, made = trainer_on(data, built, *SGD)
        sentences = made.task.dataset("train")
        trainer.train_step([sentences.collater([sentences[i] for i in b]) for b in batches])
        results.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    torch.testing.assert_close(*results)


def test_a_resumed_training_ends_with_the_same_parameters(data, tmp_path):
    train(data, tmp_path / "whole", *DROPOUT)
    first = tmp_path / "resumed"
    first.mkdir()
    (tmp_path / "whole" / "checkpoint_1_3.pt").rename(first / "checkpoint_last.pt")
    said = train(data, first, *DROPOUT)
    assert re.search(r"Loaded checkpoint .*checkpoint_last.pt \(epoch .* @ 3 updates\)", said)
    torch.testing.assert_close(weights(first), weights(tmp_path / "whole"), rtol=0, atol=0)


@pytest.mark.parametrize(
    "flags", [("--memory-efficient-fp16",), ("--fp16", "--fp16-no-flatten-grads")]
)
def test_half_precision_trains(data, built, flags):
    trainer, made = trainer_on(data, built, *flags)
    before = torch.cat([p.detach().float().flatten() for p in trainer.model.parameters()])
    while trainer.train_step([made.sample]) is None:
        pass
    after = torch.cat([p.detach().float().flatten() for p in trainer.model.parameters()])
    assert after.isfinite().all() and not torch.equal(before, after)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gradients_in_half_precision_are_near_float64(data, built, dtype):
    gradients = []
    for kind in (torch.float64, dtype):
        made = built(data, *CLASSES, *NO_NOISE)
        made.model.to(kind).train()
        loss, sample_size, _ = made.criterion(made.model, made.sample)
        (loss / sample_size).backward()
        parts = [p.grad.double().flatten() for p in made.model.parameters() if p.grad is not None]
        gradients.append(torch.cat(parts))
    gold, found = gradients
    assert (found - gold).norm() < {torch.float16: 5e-3, torch.bfloat16: 5e-2}[dtype] * gold.norm()
