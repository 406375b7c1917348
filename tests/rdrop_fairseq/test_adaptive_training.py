"""``rdrop_adaptive_loss`` on the command line: resumed, on two ranks and as scheduled.

Plain SGD, because Adam would hide a gradient of the wrong size.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from helpers.constants import TRAINING, USER_DIR
from helpers.launch import fork
from helpers.models import LANGUAGE_MODEL
from helpers.ranks import rank_options
from helpers.trained import NEVER_TRAINED

import rdrop_fairseq.compat.checkpoints  # noqa: F401  (lets torch.load read checkpoints)

ADAPTIVE = (
    *("--adaptive-softmax-cutoff=10,20", "--adaptive-softmax-factor=2", "--adaptive-input"),
    *("--adaptive-input-cutoff=10,20", "--adaptive-input-factor=2", "--tie-adaptive-weights"),
    *("--tie-adaptive-proj", "--decoder-input-dim=16", "--decoder-output-dim=16"),
)
SGD = ("--optimizer=sgd", "--lr=0.5", "--clip-norm=0", "--weight-decay=0")
ARGUMENTS = (
    *(USER_DIR, *TRAINING, *LANGUAGE_MODEL, *ADAPTIVE, *SGD, "--tokens-per-sample=16"),
    *("--criterion=rdrop_adaptive_loss", "--ddp-backend=legacy_ddp", "--disable-validation"),
    *("--batch-size=8", "--max-tokens=128", "--required-batch-size-multiple=1"),
)
NOTHING_RANDOM = ("--dropout=0", "--attention-dropout=0", "--adaptive-softmax-dropout=0")


def train(data, folder, *arguments):
    fork("fairseq-train", data, *ARGUMENTS, f"--save-dir={folder}", *arguments)
    model = torch.load(folder / "checkpoint_last.pt", weights_only=True)["model"]
    return {key: value for key, value in model.items() if not NEVER_TRAINED.search(key)}


@pytest.mark.parametrize("update_freq", ["1", "2"])
def test_a_resumed_training_ends_with_the_same_parameters(corpus, tmp_path, update_freq):
    options = (
        *("--dropout=0.2", "--adaptive-softmax-dropout=0.2", f"--update-freq={update_freq}"),
        *("--rdrop-every=2", "--save-interval-updates=3"),
    )
    whole = train(corpus.monolingual, tmp_path / "whole", *options, "--max-update=6")
    train(corpus.monolingual, tmp_path / "resumed", *options, "--max-update=3")
    resumed = train(corpus.monolingual, tmp_path / "resumed", *options, "--max-update=6")
    torch.testing.assert_close(resumed, whole, rtol=0, atol=0)


@pytest.mark.parametrize("options", [(), ("--rdrop-start-update=2", "--rdrop-ramp-updates=3")])
def test_two_ranks_train_as_one_does_on_the_same_batches(corpus, tmp_path, options):
    """Some batches have no token of a tail on one of the ranks."""
    arguments = (*NOTHING_RANDOM, *options, "--max-update=4", "--batch-size=2")
    alone = train(corpus.monolingual, tmp_path / "alone", *arguments, "--update-freq=2")
    one_of_two = partial(train, corpus.monolingual, tmp_path / "two")
    with ThreadPoolExecutor(2) as pool:
        ranks = [pool.submit(one_of_two, *arguments, *rank_options(r, tmp_path)) for r in (0, 1)]
        together = [rank.result() for rank in ranks][0]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    begun = torch.load(tmp_path / "alone" / "checkpoint_last.pt", weights_only=True)
    assert begun["optimizer_history"][-1]["num_updates"] == 4
