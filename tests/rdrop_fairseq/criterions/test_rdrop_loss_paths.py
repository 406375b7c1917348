"""``--rdrop-loss``: which path serves which model, and that all of them train the same."""

import copy
import logging
import multiprocessing
from functools import partial

import fairseq
import pytest
import torch
from conftest import RDROP, TINY_TRANSFORMER
from fairseq.distributed import LegacyDistributedDataParallel, ModuleProxyWrapper
from fairseq.trainer import Trainer
from test_every_model import LANGUAGE_MODEL, TRANSLATION
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from rdrop_fairseq.losses import fused
from rdrop_fairseq.projection import linear_projection

FEATURES, LOGITS, REFERENCE = "decoder's features", "model's logits", "reference"


@pytest.fixture
def transformer(built, corpus):
    """Build the tiny transformer with extra arguments."""

    def build(*arguments):
        return built(corpus.translation, *TINY_TRANSFORMER, *RDROP, *arguments)

    return build


def path_in_log(setup, caplog):
    """What the one line of the log says after two passes."""
    setup.model.train()
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            setup.criterion(setup.model, setup.sample)
    (line,) = [r.getMessage() for r in caplog.records if r.getMessage().startswith("R-Drop loss")]
    return line


@pytest.mark.parametrize("name", TRANSLATION)
def test_features_where_the_decoder_gives_them_else_logits(built, corpus, caplog, name):
    setup = built(corpus.translation, *TRANSLATION[name], *RDROP)
    gives_features = name.startswith("transformer") and "align" not in name or name == "bart"
    assert (FEATURES if gives_features else LOGITS) in path_in_log(setup, caplog)


def test_a_language_model_gives_features(built, corpus, caplog):
    setup = built(corpus.monolingual, *LANGUAGE_MODEL, "--tokens-per-sample=20", *RDROP)
    assert FEATURES in path_in_log(setup, caplog)


@pytest.mark.parametrize(
    "argument, path",
    [
        ("--rdrop-loss=reference", REFERENCE),
        ("--rdrop-loss=fused", FEATURES),
        ("--report-accuracy", LOGITS),
    ],
)
def test_an_option_that_decides(transformer, caplog, argument, path):
    assert path in path_in_log(transformer(argument), caplog)


@pytest.mark.parametrize(
    "hook", ["register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook"]
)
def test_a_hook_on_the_projection_still_runs(transformer, caplog, hook):
    setup = transformer()
    getattr(setup.model.decoder.output_projection, hook)(lambda *_: None)
    assert LOGITS in path_in_log(setup, caplog)


def test_the_chunk_size_reaches_the_loss(transformer, monkeypatch):
    sizes = []
    slices = fused._slices
    monkeypatch.setattr(fused, "_slices", lambda n, size: sizes.append(size) or slices(n, size))
    setup = transformer("--rdrop-chunk-size=5")
    setup.model.train()
    setup.criterion(setup.model, setup.sample)
    assert sizes[0] == 5


@pytest.mark.parametrize("size", [0, -1])
def test_a_chunk_size_below_1_is_refused(transformer, size):
    with pytest.raises(ValueError, match="--rdrop-chunk-size"):
        transformer(f"--rdrop-chunk-size={size}")


def ten_losses(setup):
    trainer = Trainer(setup.cfg, setup.task, setup.model, setup.criterion)
    trainer.begin_epoch(1)
    return [trainer.train_step([setup.sample])["loss"] for _ in range(10)]


def without_p_minus_q(logits, target, objective):
    """The gradient without the ``p_i - mean_j p_j`` of the KL."""
    probs = logits.softmax(-1)
    result = EXACT(logits, target, objective)
    logits -= objective.alpha * (probs - probs.mean(1, keepdim=True))
    return result


def without_smoothing(logits, target, objective):
    """The gradient without label smoothing."""
    result = EXACT(logits.clone(), target, objective)
    EXACT(logits, target, objective._replace(label_smoothing=0.0))
    return result


EXACT = fused.loss_and_gradient_
TIED = "--share-all-embeddings"


@pytest.mark.parametrize(
    "arguments, tolerance",
    [
        (("--rdrop-loss=auto",), 1e-5),
        (("--rdrop-loss=auto", "--rdrop-chunk-size=7", TIED), 1e-5),
        (("--rdrop-loss=auto", "--report-accuracy"), 1e-5),  # from logits
        (("--rdrop-loss=auto", "--memory-efficient-fp16"), 3e-3),
    ],
    ids=["features", "features tied", "logits", "fp16"],
)
def test_ten_updates_stay_with_the_reference(transformer, monkeypatch, arguments, tolerance):
    train = partial(transformer, "--dropout=0.2", *arguments[1:])
    expected = ten_losses(train("--rdrop-loss=reference"))
    assert ten_losses(train(arguments[0])) == pytest.approx(expected, rel=tolerance)
    assert expected[-1] < 0.95 * expected[0]
    for broken in (without_p_minus_q, without_smoothing):
        monkeypatch.setattr(fused, "loss_and_gradient_", broken)
        assert ten_losses(train(arguments[0])) != pytest.approx(expected, rel=tolerance)


def wrapped(kind, model):
    """As fairseq wraps a model on a CPU, less the device that it names."""
    if kind == "legacy_ddp":
        inner = LegacyDistributedDataParallel(model, distributed.group.WORLD, buffer_size=2**20)
    else:
        inner = DistributedDataParallel(model, find_unused_parameters="unused" in kind)
    return ModuleProxyWrapper(inner)


def gradients(model, criterion, sample, seed):
    torch.manual_seed(seed)
    model.train()
    criterion(model, sample)[0].backward()
    if hasattr(model, "all_reduce_grads"):
        model.all_reduce_grads()
    return [parameter.grad for parameter in model.parameters()]


def one_rank(rank, folder, cases, sample):
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    found = []
    for kind, model, criterion in cases:
        model = wrapped(kind, copy.deepcopy(model))
        uses_features = linear_projection(model) is not None
        found.append((uses_features, gradients(model, copy.deepcopy(criterion), sample, rank)))
    torch.save(found, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.skipif(
    fairseq.__version__ == "0.12.2",
    reason="layers of fairseq 0.12.2 hold weights that get no gradient, so pytorch_ddp stops",
)
def test_gradients_of_two_ranks_are_the_mean_of_each(transformer, tmp_path):
    """Tied and untied; the weights are used outside ``forward``, which DDP must notice."""
    tied, untied = transformer(TIED), transformer()
    kinds = ["pytorch_ddp", "legacy_ddp", "pytorch_ddp unused"]
    cases = [(kind, setup.model, setup.criterion) for kind in kinds for setup in (tied, untied)]
    for _, _, criterion in cases:
        criterion.task = None
    start = multiprocessing.get_context("spawn").Process
    ranks = [start(target=one_rank, args=(r, tmp_path, cases, tied.sample)) for r in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(timeout=120)
    assert [process.exitcode for process in ranks] == [0, 0]
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    for number, (kind, model, criterion) in enumerate(cases):
        alone = [
            gradients(copy.deepcopy(model), copy.deepcopy(criterion), tied.sample, seed=rank)
            for rank in (0, 1)
        ]
        mean = [(one + other) / 2 for one, other in zip(*alone)]
        for rank in (0, 1):
            uses_features, gradient = found[rank][number]
            assert uses_features == ("unused" not in kind)
            torch.testing.assert_close(gradient, mean, rtol=1e-4, atol=1e-4)
