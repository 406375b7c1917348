"""A training that stops in any epoch and is resumed trains on what it would have trained on.

Every setting is trained once without a stop, with a checkpoint at every third update. What is
resumed from one of these must end with the very same parameters.
"""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers.constants import PLAIN, RDROP, TINY_TRANSFORMER, TRAINING, USER_DIR
from helpers.injection import inject, kill_this_process
from helpers.launch import fork
from helpers.ranks import rank_options
from helpers.trained import trained

import rdrop_fairseq.compat.checkpoints  # noqa: F401  (lets torch.load read checkpoints)

EPOCHS = 4
FOUR_EPOCHS = (
    *(USER_DIR, *TRAINING, "--dropout=0.1", "--disable-validation", f"--max-epoch={EPOCHS}"),
    "--save-interval-updates=3",
)
SMOOTHED = (*TINY_TRANSFORMER, *PLAIN)
MASKED = (
    *("--task=masked_lm", "--criterion=masked_lm", "--sample-break-mode=eos"),
    *("--arch=roberta_base", "--encoder-layers=1", "--encoder-embed-dim=16"),
    *("--encoder-ffn-embed-dim=32", "--encoder-attention-heads=2", "--max-positions=60"),
)
SETTINGS = {
    "R-Drop": (*TINY_TRANSFORMER, *RDROP),
    "label smoothing": SMOOTHED,
    "shuffled after epoch 1": (*SMOOTHED, "--curriculum=1"),
    "two batches, two workers": (
        *(*SMOOTHED, "--update-freq=2", "--max-tokens=100"),
        "--num-workers=2",
    ),
    "shards": (*SMOOTHED, "--curriculum=2"),
    "other batches in each epoch": (*SMOOTHED, "--update-epoch-batch-itr=True"),
    "seed of the epoch": (*SMOOTHED, "--update-ordered-indices-seed"),
    "two ranks": (*TINY_TRANSFORMER, *RDROP, "--max-tokens=100", "--ddp-backend=legacy_ddp"),
    "masks": MASKED,
    "masks by a worker": (*MASKED, "--num-workers=1"),
}


def write_down_sentences() -> None:
    """Have every update print the sentences that it trains on."""
    from fairseq.tasks.translation import TranslationTask

    train_step = TranslationTask.train_step

    def train_step_written_down(task, sample, *arguments, **options):
        print("sentences", json.dumps(sample["id"].tolist()), flush=True)
        return train_step(task, sample, *arguments, **options)

    TranslationTask.train_step = train_step_written_down


def leave_batches_to_fairseq() -> None:
    """Take the patch away that this module tests."""
    from fairseq.trainer import Trainer

    Trainer.get_train_iterator = Trainer.get_train_iterator.__wrapped__
    write_down_sentences()


def data_of(setting, corpus) -> str:
    if setting.startswith("masks"):
        return str(corpus.monolingual)
    return ":".join([str(corpus.translation)] * (2 if setting == "shards" else 1))


def train(setting, corpus, folder, *arguments, prepare=write_down_sentences) -> int:
    """Train with a setting in ``folder``, which goes on from a checkpoint that is there."""
    folder.mkdir(exist_ok=True)
    words = (data_of(setting, corpus), f"--save-dir={folder}", *FOUR_EPOCHS, *SETTINGS[setting])
    begin = partial(fork, "fairseq-train", *words, *arguments, prepare=prepare, check=False)
    if setting != "two ranks":
        finished = [begin()]
    else:
        rendezvous = folder.with_name(f"{folder.name}_ranks")
        rendezvous.mkdir()
        with ThreadPoolExecutor() as ranks:
            finished = [*ranks.map(lambda rank: begin(*rank_options(rank, rendezvous)), (0, 1))]
    with open(folder / "output.log", "a") as log:
        log.write(finished[0].stdout)
    return max(process.returncode for process in finished)


def resume(setting, corpus, checkpoint, folder, *arguments) -> int:
    folder.mkdir()
    shutil.copy(checkpoint, folder / "checkpoint_last.pt")
    return train(setting, corpus, folder, *arguments)


@pytest.fixture(scope="module")
def uninterrupted(corpus, tmp_path_factory):
    """The folder of a setting that is trained to its end without a stop, once for all tests."""
    folders = {}

    def of(setting) -> Path:
        if setting not in folders:
            folder = tmp_path_factory.mktemp("uninterrupted") / "checkpoints"
            assert train(setting, corpus, folder) == 0
            folders[setting] = folder
        return folders[setting]

    return of


def middle_of(epoch, folder) -> Path:
    """A checkpoint from within an epoch, the last one before its end."""
    return max(
        folder.glob(f"checkpoint_{epoch}_*.pt"), key=lambda path: int(path.stem.split("_")[2])
    )


def updates_of(folder) -> int:
    """How many updates the last checkpoint has behind it."""
    return torch.load(folder / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"]


def weights(folder) -> dict:
    return trained(torch.load(folder / "checkpoint_last.pt")["model"])


def assert_same_weights(found, expected):
    found, expected = weights(found), weights(expected)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def sentences(folder) -> list:
    """The sentences of every update that was made in a folder."""
    lines = (folder / "output.log").read_text().splitlines()
    return [json.loads(line.split(" ", 1)[1]) for line in lines if line.startswith("sentences ")]


@pytest.mark.parametrize("setting", SETTINGS)
def test_resumed_in_the_middle_of_an_epoch_and_at_its_end(corpus, uninterrupted, tmp_path, setting):
    expected = uninterrupted(setting)
    for checkpoint in (middle_of(2, expected), expected / "checkpoint2.pt"):
        resumed = tmp_path / checkpoint.stem
        assert resume(setting, corpus, checkpoint, resumed) == 0
        assert_same_weights(resumed, expected)


@pytest.mark.parametrize("setting", ["R-Drop", "label smoothing"])
def test_killed_again_and_again(corpus, uninterrupted, tmp_path, setting):
    """Within epochs 2 and 3, while the checkpoint at their end is saved, and just after that."""
    for moment, count, last_update in (
        ("update", 12, 9),
        ("writing", 3, 15),
        ("saved", 1, 16),  # the end of epoch 2
        ("update", 5, 18),
        ("copying", 2, 21),
        ("saved", 1, 24),  # the end of epoch 3
    ):
        prepare = partial(inject, kill_this_process, moment, count)
        assert train(setting, corpus, tmp_path, prepare=prepare) == -9
        assert updates_of(tmp_path) == last_update
    assert train(setting, corpus, tmp_path) == 0
    assert_same_weights(tmp_path, uninterrupted(setting))


def test_every_epoch_trains_on_every_sentence_once(corpus, uninterrupted, tmp_path):
    setting = "label smoothing"
    expected = sentences(uninterrupted(setting))
    length = len(expected) // EPOCHS
    for stop in (length + 2, length + 5, 2 * length, 2 * length + 1, 3 * length - 1, 4 * length):
        assert train(setting, corpus, tmp_path, f"--max-update={stop}") == 0
    found = sentences(tmp_path)
    assert found == expected
    for epoch in range(EPOCHS):
        trained = sum(found[epoch * length : (epoch + 1) * length], [])
        assert sorted(trained) == list(range(200))


@pytest.mark.parametrize("setting", ["shuffled after epoch 1", "shards"])
def test_uninterrupted_training_is_as_without_the_patch(corpus, uninterrupted, tmp_path, setting):
    assert train(setting, corpus, tmp_path, prepare=leave_batches_to_fairseq) == 0
    assert sentences(tmp_path) == sentences(uninterrupted(setting))
    assert_same_weights(tmp_path, uninterrupted(setting))


def test_resumed_with_smaller_batches(corpus, uninterrupted, tmp_path):
    """As in fairseq the resumed epoch goes on at the same number of batches, whatever these are."""
    expected, resumed = uninterrupted("label smoothing"), tmp_path / "resumed"
    checkpoint = middle_of(2, expected)
    assert resume("label smoothing", corpus, checkpoint, resumed, "--max-tokens=150") == 0
    assert updates_of(resumed) > updates_of(expected)


def test_resumed_after_the_end_of_the_epoch(corpus, uninterrupted, tmp_path):
    """With so large batches that the epoch has fewer than were trained on already."""
    expected, resumed = uninterrupted("label smoothing"), tmp_path / "resumed"
    checkpoint = middle_of(2, expected)
    assert resume("label smoothing", corpus, checkpoint, resumed, "--max-tokens=9999") == 1
    assert "due to dataloader mismatch" in (resumed / "output.log").read_text()
