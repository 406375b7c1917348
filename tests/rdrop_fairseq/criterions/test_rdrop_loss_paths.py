"""``--rdrop-loss``: which path serves which model, and that all of them train the same."""

import copy
import logging
import multiprocessing
from functools import partial

import fairseq
import pytest
import torch
from fairseq.distributed import LegacyDistributedDataParallel, ModuleProxyWrapper
from fairseq.models.transformer import TransformerDecoderBase, TransformerModelBase
from fairseq.trainer import Trainer
from helpers.constants import NO_DROPOUT, RDROP, TIED
from helpers.dropped_terms import DROPPED_TERMS, use_kernel
from helpers.models import LANGUAGE_MODEL, TRANSLATION
from helpers.parity import assert_the_numbers_of_the_reference
from torch import distributed
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parametrizations, weight_norm

from rdrop_fairseq.losses import fused, of_features
from rdrop_fairseq.losses.reference import rdrop_loss
from rdrop_fairseq.model_output import has_own_probabilities, linear_projection
from rdrop_fairseq.views.repeat import repeat_sample, split_views
from rdrop_fairseq.wrappers import WRAPPERS

FEATURES, LOGITS, REFERENCE = "decoder's features", "model's logits", "reference"


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


def test_a_hook_that_is_added_later_sees_logits_from_then_on(transformer, caplog):
    setup, widths = transformer(), []
    setup.model.train()
    with caplog.at_level(logging.INFO):
        setup.criterion(setup.model, setup.sample)
        hook = lambda module, inputs, output: widths.append(output.size(-1))  # noqa: E731
        setup.model.decoder.output_projection.register_forward_hook(hook)
        loss, _, _ = setup.criterion(setup.model, setup.sample)
    assert loss.isfinite()
    assert widths == [len(setup.task.target_dictionary)]
    chosen = [m for m in caplog.messages if m.startswith("R-Drop loss")]
    assert [FEATURES in chosen[0], LOGITS in chosen[1], len(chosen)] == [True, True, 2]


@pytest.mark.parametrize("name", ["", "decoder"])
def test_a_hook_on_model_or_decoder_sees_logits(transformer, caplog, name):
    setup, widths = transformer(), []
    module = setup.model.get_submodule(name)
    module.register_forward_hook(lambda module, inputs, output: widths.append(output[0].size(-1)))
    assert LOGITS in path_in_log(setup, caplog)
    assert set(widths) == {len(setup.task.target_dictionary)}


class CappedDecoder(TransformerDecoderBase):
    def forward(self, *arguments, **options):
        logits, extra = super().forward(*arguments, **options)
        return logits.tanh(), extra


class ColdOutputLayer(TransformerDecoderBase):
    def output_layer(self, features):
        return super().output_layer(features) / 2


class ColdProbabilities(TransformerDecoderBase):
    def get_normalized_probs(self, net_output, log_probs, sample=None):
        cold = net_output[0] / 2, net_output[1]
        return super().get_normalized_probs(cold, log_probs, sample)


class ColdModel(TransformerModelBase):
    def forward(self, **everything):
        everything.pop("features_only", None)
        logits, extra = super().forward(**everything)
        return logits / 2, extra


class ModelWithColdProbabilities(TransformerModelBase):
    def get_normalized_probs(self, net_output, log_probs, sample=None):
        cold = net_output[0] / 2, net_output[1]
        return super().get_normalized_probs(cold, log_probs, sample)


@pytest.mark.parametrize("rdrop_loss", ["auto", "reference"])
@pytest.mark.parametrize(
    "name, own",
    [
        ("decoder", CappedDecoder),
        ("decoder", ColdOutputLayer),
        ("decoder", ColdProbabilities),
        ("", ColdModel),
        ("", ModelWithColdProbabilities),
    ],
)
def test_what_a_model_does_to_its_logits_is_in_the_loss(transformer, name, own, rdrop_loss):
    """Both passes being the same without dropout, the loss is twice fairseq's own."""
    setup = transformer(*NO_DROPOUT, f"--rdrop-loss={rdrop_loss}")
    setup.model.get_submodule(name).__class__ = own
    loss, _, _ = setup.criterion(setup.model.train(), setup.sample)
    plain, _, _ = setup.criterion(setup.model.eval(), setup.sample)
    torch.testing.assert_close(loss, 2 * plain, rtol=1e-5, atol=0)


class ProbabilitiesDecoder(TransformerDecoderBase):
    """As that of fairseq's example pointer_generator, whose output are probabilities."""

    def forward(self, *arguments, **options):
        logits, extra = super().forward(*arguments, **options)
        return logits.softmax(-1), extra

    def get_normalized_probs(self, net_output, log_probs, sample=None):
        probabilities = net_output[0].clamp(1e-10, 1)
        return probabilities.log() if log_probs else probabilities


@pytest.mark.parametrize("prefix", [0, 1])
def test_the_accuracy_of_a_model_that_gives_probabilities(transformer, prefix):
    setup = transformer(*NO_DROPOUT, "--report-accuracy", f"--ignore-prefix-size={prefix}")
    setup.model.decoder.__class__ = ProbabilitiesDecoder
    # so that some tokens are right
    setup.sample["target"][:, ::2] = most_probable(setup.model, setup.sample)[:, ::2]
    log = setup.criterion(setup.model.train(), setup.sample)[2]
    plain = setup.criterion(setup.model.eval(), setup.sample)[2]
    assert 0 < plain["n_correct"] < plain["total"]
    assert (log["n_correct"], log["total"]) == (2 * plain["n_correct"], 2 * plain["total"])


def most_probable(model, sample):
    return model.eval()(**sample["net_input"])[0].argmax(-1)


@pytest.mark.parametrize("make", [weight_norm, parametrizations.weight_norm])
def test_a_normalised_projection_gets_the_numbers_of_the_reference(transformer, make):
    setup = transformer()
    projection = make(setup.model.decoder.output_projection)
    with torch.no_grad():
        next(projection.parameters()).mul_(3)  # so that the weight as it was would be wrong
    assert linear_projection(setup.model) is None
    assert_the_numbers_of_the_reference(setup.model, setup.criterion, setup.sample)


def test_autocast_rounds_features_but_not_logits(transformer):
    """What ``--amp`` does, here in bfloat16: the loss is exact for the features that it gets."""
    setup = transformer()
    setup.model.train()
    views = repeat_sample(setup.sample)["net_input"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.manual_seed(4)
        loss, _, _ = setup.criterion(setup.model, setup.sample)
        torch.manual_seed(4)
        features = setup.model(**views, features_only=True)[0]
    weight = setup.model.decoder.output_projection.weight
    logits = split_views(features.double() @ weight.double().t())
    exact = rdrop_loss(logits, setup.sample["target"], 5.0, 0.1, padding_idx=1).loss
    torch.testing.assert_close(loss.double(), exact, rtol=1e-6, atol=0)
    loss.backward()
    assert weight.grad.dtype == torch.float32


def test_two_accumulated_batches_give_the_sum_of_their_gradients(transformer):
    """The tied weight, too, which gets a gradient as embedding and as projection."""
    setup = transformer(TIED)
    short = {key: setup.sample[key] for key in ("ntokens", "net_input", "target")}
    half = {key: value[: value.size(0) // 2] for key, value in setup.sample["net_input"].items()}
    short.update(net_input=half, target=setup.sample["target"][: len(half["src_tokens"])])
    both = []
    for rdrop in ("auto", "reference"):
        criterion = copy.copy(setup.criterion)
        criterion.rdrop_loss = rdrop
        setup.model.zero_grad()
        torch.manual_seed(2)  # the same dropout
        for sample in (setup.sample, short):
            criterion(setup.model.train(), sample)[0].backward()
        gradients = [parameter.grad for parameter in setup.model.parameters()]
        both.append([gradient.clone() for gradient in gradients if gradient is not None])
    torch.testing.assert_close(*both, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "option, expected", [("--rdrop-chunk-size=5", 5), ("--rdrop-chunk-memory=2", 20)]
)
def test_the_size_of_chunks_reaches_the_loss(transformer, monkeypatch, option, expected):
    sizes = []
    by_chunk = of_features._by_chunk
    monkeypatch.setattr(
        of_features, "_by_chunk", lambda *a: sizes.append(a[-1].chunk_size) or by_chunk(*a)
    )
    monkeypatch.setattr(fused, "tokens_in_a_chunk", lambda *sizes: 10 * sizes[-1])
    setup = transformer(option)
    setup.model.train()
    setup.criterion(setup.model, setup.sample)
    assert sizes == [expected]


@pytest.mark.parametrize("size", [0, -1])
def test_a_chunk_size_below_1_is_refused(transformer, size):
    setup = transformer()
    cfg = copy.deepcopy(setup.cfg.criterion)
    cfg.rdrop_chunk_size = size
    with pytest.raises(ValueError, match="--rdrop-chunk-size"):
        type(setup.criterion)(cfg, setup.task)


def ten_losses(setup):
    trainer = Trainer(setup.cfg, setup.task, setup.model, setup.criterion)
    trainer.begin_epoch(1)
    return [trainer.train_step([setup.sample])["loss"] for _ in range(10)]


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
    for broken in DROPPED_TERMS:
        use_kernel(monkeypatch, broken)
        assert ten_losses(train(arguments[0])) != pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("options", [(), ("--report-accuracy",)], ids=["features", "logits"])
def test_what_the_model_gives_reaches_the_loss_without_a_copy(transformer, options):
    setup = transformer(*options)
    head = setup.criterion.head(setup.model.train())
    output, loss, seen = head.output, head.loss, []
    head.output = lambda *given: seen.append(output(*given)) or seen[-1]
    head.loss = lambda by_view, *others: seen.append(by_view) or loss(by_view, *others)
    setup.criterion(setup.model, setup.sample)
    assert seen[0].data_ptr() == seen[1].data_ptr()


@pytest.mark.parametrize("name", sorted(WRAPPERS))
def test_probabilities_of_its_own_are_seen_through_every_wrapper(transformer, name):
    wrapper = type(name, (torch.nn.Module,), {"find_unused_parameters": True})()
    wrapper.module = transformer().model
    assert not has_own_probabilities(wrapper)
    wrapper.module.__class__ = ModelWithColdProbabilities
    assert has_own_probabilities(wrapper)


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


def test_the_log_says_that_triton_is_used(transformer, caplog):
    pytest.importorskip("triton", reason="Triton is missing: pip install '.[triton]'")
    setup = transformer("--rdrop-kernel=triton")
    assert path_in_log(setup, caplog).endswith("elementwise part in Triton")
    assert_the_numbers_of_the_reference(setup.model, setup.criterion, setup.sample)


@pytest.mark.parametrize("missing", ["Triton", "CUDA"])
def test_triton_is_refused_where_it_cannot_run(transformer, monkeypatch, missing):
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if missing == "Triton" else name
    )
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    setup = transformer("--rdrop-kernel=triton")
    with pytest.raises(ValueError, match=f"--rdrop-kernel triton needs {missing}, .*train without"):
        setup.criterion(setup.model.train(), setup.sample)
