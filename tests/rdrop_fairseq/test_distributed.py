"""Two processes train as one does on the same global batch, on the command line of fairseq-train.

Plain SGD, because Adam would hide a gradient of the wrong size.
"""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import fairseq
import pytest
import torch
from helpers.constants import RDROP, TIED, TINY_TRANSFORMER, TRAINING, USER_DIR
from helpers.launch import start
from helpers.ranks import rank_options
from helpers.trained import trained

import rdrop_fairseq.compat.checkpoints  # noqa: F401  (lets torch.load read checkpoints)

# What --user-dir loads here: the plugin, with pytorch_ddp made to work on a CPU, a checkpoint from
# every rank, and the beginning of every dropout mask written down.
OBSERVED_ON_CPU = """
import atexit
import os
import sys

import rdrop_fairseq
import torch
from fairseq.models import distributed_fairseq_model
from fairseq.modules import FairseqDropout
from fairseq.trainer import Trainer

DDP = torch.nn.parallel.DistributedDataParallel
distributed_fairseq_model.DistributedDataParallel = lambda device_ids, output_device, **options: (
    DDP(**options)
)
Trainer.should_save_checkpoint_on_current_rank = True
plain_dropout, masks = FairseqDropout.forward, []


def observed_dropout(module, x, inplace=False):
    if not module.training or module.p == 0:
        return x
    mask = plain_dropout(module, torch.ones_like(x))
    if "--rdrop-share" not in " ".join(sys.argv):  # with it the passes of the ranks differ
        masks.append(mask.flatten()[:64].clone())
    return x * mask


FairseqDropout.forward = observed_dropout
atexit.register(lambda: torch.save(masks, os.environ["MASKS"]))
"""

# Starting Python costs more than training: one process does every training of its rank.
ALL_TRAININGS = """
import json
import sys

from fairseq_cli.train import cli_main

for name, arguments in json.load(open(sys.argv[1])).items():
    print("=== " + name, flush=True)
    sys.argv = ["fairseq-train", *arguments]
    cli_main()
"""

# With a rate of 0.5 rounding grows to 1e-3 within two epochs on some machines, also between the
# fused loss and the reference in one process.
SGD_MODEL = (*TINY_TRANSFORMER, "--optimizer=sgd", "--lr=0.1", "--clip-norm=0", "--weight-decay=0")
# 200 sentences are 13 batches, the last one smaller: in the last update of an epoch the second
# rank has one batch less, which with --update-freq 1 is none at all.
BATCHES = ("--batch-size=16", "--required-batch-size-multiple=1", "--disable-validation")
SGD_TRAINING = (*TRAINING, "--log-format=json", *SGD_MODEL, *BATCHES, *RDROP)
TWO_EPOCHS = ("--dropout=0", "--max-epoch=2")

# Layers of fairseq 0.12.2 hold weights that get no gradient.
FIND_UNUSED = ("--find-unused-parameters",) if fairseq.__version__ == "0.12.2" else ()
BACKENDS = {
    "legacy_ddp": ("--ddp-backend=legacy_ddp",),
    "pytorch_ddp": ("--ddp-backend=pytorch_ddp", *FIND_UNUSED),
}
EMBEDDINGS = {"tied": (TIED,), "untied": ()}
DROPOUT = (
    *(*SGD_TRAINING, *BACKENDS["legacy_ddp"], "--dropout=0.3", "--max-epoch=1"),
    "--save-interval-updates=3",
)
# Without dropout and cutoff nothing is random, so that one process is the gold here too.
SCHEDULED = ("--rdrop-start-update=2", "--rdrop-ramp-updates=6", "--rdrop-every=3")
# With q = 1 every candidate is dropped. Of two epochs the second has AD-DROP.
ADDROP = (
    *("--criterion=addrop_label_smoothed_cross_entropy", "--addrop-p=0.5", "--addrop-q=1"),
    *("--update-freq=1", *TWO_EPOCHS),
)
SHARED = ("--rdrop-share=0.05", "--view-cutoff=0.2")  # of 16 sentences: one or none
# It goes on after a resume at update 3 with another alpha than it had there.
MIXED = (
    *(*DROPOUT, "--rdrop-start-update=1", "--rdrop-ramp-updates=6", "--rdrop-share=0.5"),
    "--update-freq=2",
)
RANDOM = {
    "dropout": DROPOUT,
    "share": (*DROPOUT, *SHARED),
    "two rates": (  # two passes on one rank may meet one on the other
        *(*DROPOUT, *SHARED, "--rdrop-second-dropout=0.4"),
        *(() if FIND_UNUSED else BACKENDS["pytorch_ddp"]),
    ),
    "three views": (*DROPOUT, *SHARED, "--rdrop-views=3"),
    "simcut": (*DROPOUT, "--criterion=simcut_label_smoothed_cross_entropy"),
    "mixed": MIXED,
}
UPDATE_FREQ = ("1", "4")
RDROP_LOSSES = ("fused", "reference")
CASES = [
    (backend, embeddings, loss, update_freq)
    for backend in BACKENDS
    for embeddings in EMBEDDINGS
    for loss in RDROP_LOSSES
    for update_freq in UPDATE_FREQ
]


def one_process_trainings():
    """One process with twice the update frequency, by the reference loss: the gold."""
    trainings = {
        f"{embeddings} {update_freq}": (
            *(*SGD_TRAINING, *TWO_EPOCHS, *EMBEDDINGS[embeddings]),
            *("--rdrop-loss=reference", f"--update-freq={2 * int(update_freq)}"),
        )
        for embeddings in EMBEDDINGS
        for update_freq in UPDATE_FREQ
    }
    addrop = (*SGD_TRAINING, *ADDROP, "--update-freq=2")
    return {**trainings, "schedule": (*trainings["untied 1"], *SCHEDULED), "addrop": addrop}


def two_rank_trainings():
    trainings = {
        " ".join(case): (
            *(*SGD_TRAINING, *TWO_EPOCHS, *BACKENDS[case[0]], *EMBEDDINGS[case[1]]),
            *(f"--rdrop-loss={case[2]}", f"--update-freq={case[3]}"),
        )
        for case in CASES
    }
    schedules = {
        f"schedule {backend}": (*SGD_TRAINING, *TWO_EPOCHS, *SCHEDULED, *BACKENDS[backend])
        for backend in BACKENDS
    }
    addrop = {f"addrop {name}": (*SGD_TRAINING, *ADDROP, *BACKENDS[name]) for name in BACKENDS}
    return {**trainings, **schedules, **addrop, **RANDOM}


def finish(processes, outputs):
    """Wait for all; what they wrote, or a failure that shows it."""
    try:
        codes = [process.wait(timeout=1200) for process in processes]
    finally:
        for process in processes:
            process.kill()
    texts = [output.read_text() for output in outputs]
    assert not any(codes), f"ended with {codes}:\n" + "\n".join(text[-4000:] for text in texts)
    return texts


def start_rank(rank, folder, *command):
    with open(folder / f"output{rank}", "w") as output:
        masks = {"MASKS": str(folder / f"masks{rank}.pt")}
        return start(*command, stdout=output, environment=masks)


def train_all(trainings, ranks, data, folder):
    """Each training on each rank: ``.folder`` has its checkpoints, ``.output`` is of rank 0."""
    user_dir = folder / "observed_on_cpu"
    user_dir.mkdir()
    (user_dir / "__init__.py").write_text(OBSERVED_ON_CPU)
    processes = []
    for rank in range(ranks):
        jobs = {}
        for name, arguments in trainings.items():
            checkpoints = folder / name.replace(" ", "_") / str(rank)
            checkpoints.mkdir(parents=True)
            places = (f"--user-dir={user_dir}", f"--save-dir={checkpoints}")
            distributed = rank_options(rank, folder) if ranks > 1 else ()
            jobs[name] = [str(data), *arguments, *places, *distributed]
        (folder / f"jobs{rank}.json").write_text(json.dumps(jobs))
        command = ("python", "-c", ALL_TRAININGS, folder / f"jobs{rank}.json")
        processes.append(start_rank(rank, folder, *command))
    text = finish(processes, [folder / f"output{rank}" for rank in range(ranks)])[0]
    outputs = dict(part.split("\n", 1) for part in text.split("=== ")[1:])
    return {
        name: SimpleNamespace(folder=folder / name.replace(" ", "_"), output=outputs[name])
        for name in trainings
    }


@pytest.fixture(scope="module")
def one_process(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one_process")
    return train_all(one_process_trainings(), 1, corpus.translation, folder)


@pytest.fixture(scope="module")
def two_ranks(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_ranks")
    return train_all(two_rank_trainings(), 2, corpus.translation, folder)


def weights(folder: Path, name="checkpoint_last.pt") -> dict:
    return trained(torch.load(folder / name, weights_only=True)["model"])


def updates(output):
    """The dictionaries that fairseq logged, one an update."""
    return [json.loads(line) for line in re.findall(r"\| train_inner \| (\{.*\})", output)]


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_two_ranks_end_with_the_parameters_of_one_process(one_process, two_ranks, case):
    expected = weights(one_process[f"{case[1]} {case[3]}"].folder / "0")
    for rank in ("0", "1"):
        found = weights(two_ranks[" ".join(case)].folder / rank)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_two_ranks_log_what_one_process_logs(one_process, two_ranks, case):
    expected = updates(one_process[f"{case[1]} {case[3]}"].output)
    found = updates(two_ranks[" ".join(case)].output)
    assert len(found) == len(expected) == {"1": 14, "4": 4}[case[3]]
    for one, other in zip(found, expected):
        for key in ("loss", "nll_loss", "kl_loss", "ppl", "gnorm", "num_updates"):
            assert float(one[key]) == pytest.approx(float(other[key]), rel=1e-4, abs=2e-3), key


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_ranks_follow_a_schedule_as_one_process_does(one_process, two_ranks, backend):
    gold, both = one_process["schedule"], two_ranks[f"schedule {backend}"]
    expected = weights(gold.folder / "0")
    for rank in ("0", "1"):
        torch.testing.assert_close(weights(both.folder / rank), expected, rtol=1e-4, atol=1e-5)
    alphas = [[float(u["rdrop_alpha"]) for u in updates(t.output)] for t in (gold, both)]
    ramp = [0.833, 0, 0, 3.333, 0, 0, 5, 0, 0, 5, 0, 0]
    assert alphas[0] == alphas[1] == [0, 0, *ramp]


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_ranks_drop_the_attention_that_one_process_drops(one_process, two_ranks, backend):
    gold, both = one_process["addrop"], two_ranks[f"addrop {backend}"]
    expected = weights(gold.folder / "0")
    for rank in ("0", "1"):
        torch.testing.assert_close(weights(both.folder / rank), expected, rtol=1e-4, atol=1e-5)
    for training in (gold, both):
        shares = [float(update["addrop_share"]) for update in updates(training.output)]
        assert [share > 0 for share in shares] == [False] * 7 + [True] * 7


@pytest.mark.parametrize("name", ["share", "two rates", "three views", "simcut"])
def test_random_views_leave_the_ranks_together(two_ranks, name):
    training = two_ranks[name]
    assert_same_weights(weights(training.folder / "0"), weights(training.folder / "1"))
    log = updates(training.output)
    assert len(log) == 7 and all(float(update["loss"]) > 0 for update in log)
    shares = [float(update["rdrop_share"]) for update in log]
    if name == "simcut":
        assert set(shares) == {1}
    else:
        assert len(set(shares)) > 1 and 0 < sum(shares) / len(shares) < 0.2


def test_the_gold_learns(one_process):
    """Or equal parameters and logs would say little."""
    for training in one_process.values():
        log = updates(training.output)
        assert float(log[-1]["nll_loss"]) < float(log[0]["nll_loss"]) - 0.3


def test_with_dropout_the_ranks_draw_other_masks_and_stay_together(two_ranks):
    training = two_ranks["dropout"]
    assert min(float(update["kl_loss"]) for update in updates(training.output)) > 0
    assert_same_weights(weights(training.folder / "0"), weights(training.folder / "1"))
    masks = [torch.load(training.folder.parent / f"masks{rank}.pt") for rank in (0, 1)]
    assert len(masks[0]) == len(masks[1]) > 7
    assert not any(torch.equal(*pair) for pair in zip(*masks))


def assert_same_weights(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def train_two_ranks(corpus, folder, *options):
    """What the first rank of a ``fairseq-train`` prints."""
    command = ("fairseq-train", corpus.translation, *options, USER_DIR)
    processes = [start_rank(rank, folder, *command, *rank_options(rank, folder)) for rank in (0, 1)]
    return finish(processes, [folder / "output0", folder / "output1"])[0]


@pytest.mark.parametrize(("name", "rest"), [("dropout", [4, 5, 6, 7]), ("mixed", [4])])
def test_two_ranks_resume_where_they_stopped(two_ranks, corpus, tmp_path, name, rest):
    """``fairseq-train`` itself, from a checkpoint within the epoch, which then ends the same."""
    training = two_ranks[name]
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    shutil.copy(training.folder / "0" / "checkpoint_1_3.pt", checkpoints / "checkpoint_last.pt")
    output = train_two_ranks(corpus, tmp_path, *RANDOM[name], f"--save-dir={checkpoints}")
    assert re.search(r"Loaded checkpoint .*checkpoint_last.pt \(epoch .* @ 3 updates\)", output)
    log = updates(output)
    assert [int(update["num_updates"]) for update in log] == rest
    alphas = [float(update["rdrop_alpha"]) for update in updates(training.output)]
    assert [float(update["rdrop_alpha"]) for update in log] == alphas[3:]
    assert name == "dropout" or 0 < alphas[2] < alphas[3] < 5  # the full alpha
    torch.testing.assert_close(weights(checkpoints), weights(training.folder / "0"))


def test_two_ranks_resume_with_the_counts_of_a_bleu(corpus, tmp_path):
    """Summed over ranks, fairseq's counts of n-grams are float64 in the checkpoint."""
    options = (
        *(*TRAINING, "--log-format=json", *SGD_MODEL, "--batch-size=16", *RDROP),
        *(*BACKENDS["legacy_ddp"], f"--save-dir={tmp_path / 'checkpoints'}"),
        *("--eval-bleu", '--eval-bleu-args={"beam": 1, "max_len_b": 3}'),
    )
    train_two_ranks(corpus, tmp_path, *options, "--max-update=2")
    resumed = train_two_ranks(corpus, tmp_path, *options, "--max-update=3")
    assert re.search(r"Loaded checkpoint .*checkpoint_last.pt \(epoch .* @ 2 updates\)", resumed)
    assert [int(update["num_updates"]) for update in updates(resumed)] == [3]
