"""The criteria of AD-DROP: which pass is trained, what decides, and when."""

import copy
import math
import re

import pytest
import torch
from fairseq.criterions.sentence_prediction import SentencePredictionCriterion
from fairseq.modules import MultiheadAttention
from helpers.constants import NO_DROPOUT, PAD, PLAIN, RDROP, TINY_TRANSFORMER, TRAINING, USER_DIR
from helpers.criteria import logged, plain_criterion
from helpers.launch import fork
from helpers.models import LANGUAGE_MODEL, TRANSLATION
from helpers.trained import trained
from torch.utils._python_dispatch import TorchDispatchMode

from rdrop_fairseq.criterions.addrop import share_of
from rdrop_fairseq.views.addrop import AttributedViews, LayerMask
from rdrop_fairseq.views.attention import record_attention

ADDROP = ("--criterion=addrop_label_smoothed_cross_entropy", "--label-smoothing=0.1")
ALWAYS = "--no-cross-tuning"
ROBERTA = (
    *("--arch=roberta_base", "--encoder-layers=2", "--encoder-embed-dim=16"),
    *("--encoder-ffn-embed-dim=32", "--encoder-attention-heads=2", "--max-positions=60"),
)
TWO_LAYERS = ("--task=sentence_prediction", *ROBERTA)
TWO_LAYER_CLASSES = (*TWO_LAYERS, "--num-classes=3")
REGRESSION = (*TWO_LAYERS, "--num-classes=1", "--regression-target")
ADDROP_SENTENCES = ("--criterion=addrop_sentence_prediction",)
PLAIN_SENTENCES = ("--criterion=sentence_prediction",)


@pytest.fixture(scope="module")
def labelled(corpus, tmp_path_factory):
    """The sentences of the corpus with one of three labels, and with a number."""
    folder = tmp_path_factory.mktemp("labelled")
    for split in ("train", "valid"):
        lines = (corpus.text / f"{split}.de").read_text().splitlines()
        lengths = [len(line.split()) for line in lines]
        (folder / f"{split}.label").write_text("".join(f"c{n % 3}\n" for n in lengths))
        (folder / "label").mkdir(exist_ok=True)
        (folder / "label" / f"{split}.label").write_text("".join(f"{n / 9}\n" for n in lengths))
    for name, suffix, source in (("input0", "de", corpus.text), ("label", "label", folder)):
        fork(
            *("fairseq-preprocess", "--only-source", f"--trainpref={source / 'train'}.{suffix}"),
            *(f"--validpref={source / 'valid'}.{suffix}", f"--destdir={folder / name}"),
        )
    return folder


@pytest.fixture
def kind(built, corpus, labelled):
    """Build a model with AD-DROP: for translation, a language model, classes or a number."""

    def build(name, *arguments):
        data, words = {
            "translation": (corpus.translation, (*TINY_TRANSFORMER, *ADDROP)),
            "language model": (
                corpus.monolingual,
                (*LANGUAGE_MODEL, "--tokens-per-sample=20", "--addrop-attention=decoder", *ADDROP),
            ),
            "classes": (labelled, (*TWO_LAYER_CLASSES, *ADDROP_SENTENCES)),
            "regression": (labelled, (*REGRESSION, *ADDROP_SENTENCES)),
        }[name]
        return built(data, *words, *arguments)

    return build


KINDS = ("translation", "language model", "classes", "regression")


def parent(setup):
    """fairseq's own criterion with the same options."""
    if hasattr(setup.criterion, "eps"):
        return plain_criterion(setup)
    return SentencePredictionCriterion(setup.cfg.criterion, setup.task)


def masks_of(setup, sample=None, seed=3):
    """What the criterion drops in an update."""
    found = []
    drop = setup.criterion.attention_drop
    original = type(drop)._mask

    def observed(attributions, masks, *arguments):
        kept = original(drop, attributions, masks, *arguments)
        found.append(masks[-1].dropped)
        return kept

    drop._mask = observed
    torch.manual_seed(seed)
    result = setup.criterion(setup.model.train(), sample or setup.sample)
    del drop._mask
    return found, result


@pytest.mark.parametrize("name", KINDS)
def test_validation_gives_the_parents_numbers(kind, name):
    setup = kind(name)
    found = setup.criterion(setup.model.eval(), setup.sample)
    expected = parent(setup)(setup.model, setup.sample)
    assert torch.equal(found[0], expected[0])
    assert found[1:] == expected[1:]
    assert logged(setup.criterion, found[2]) == logged(parent(setup), expected[2])


@pytest.mark.parametrize("name", KINDS)
def test_the_loss_is_the_parents_with_logits_at_minus_infinity(kind, name):
    setup = kind(name, ALWAYS, *NO_DROPOUT, "--addrop-p=0.6", "--addrop-q=0.6")
    before = copy.deepcopy(setup.sample)
    masks, (loss, sample_size, log) = masks_of(setup)
    parameters = [p for p in setup.model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    hooks = []
    layers = setup.criterion.attention_drop.layers(setup.model)
    for layer, dropped in zip(layers, masks):
        attend = lambda dropout, inputs, dropped=dropped: renormalised(inputs[0], dropped)  # noqa: E731
        hooks.append(layer.dropout_module.register_forward_pre_hook(attend))
        layer.skip_embed_dim_check = True
    expected = parent(setup)(setup.model, setup.sample)
    torch.testing.assert_close(loss, expected[0])
    others = torch.autograd.grad(expected[0], parameters, allow_unused=True)
    torch.testing.assert_close(gradients, others, rtol=1e-4, atol=1e-5)
    assert sample_size == expected[1]
    assert set(log) - set(expected[2]) == {"addrop_share"}
    assert 0 < logged(setup.criterion, log)["addrop_share"] < 0.5
    for mine, others in zip(flat(setup.sample), flat(before)):
        assert torch.equal(mine, others) if torch.is_tensor(mine) else mine == others


@pytest.mark.parametrize("name", KINDS)
def test_a_pass_of_a_plain_epoch_is_the_parents_to_the_last_digit(kind, name):
    setup = kind(name)
    setup.criterion.set_epoch(1)
    passes = []
    for criterion in (setup.criterion, parent(setup)):
        torch.manual_seed(4)
        passes.append((*criterion(setup.model.train(), setup.sample), torch.get_rng_state()))
    (loss, size, log, drawn), (expected, expected_size, expected_log, expected_drawn) = passes
    assert torch.equal(loss, expected) and torch.equal(drawn, expected_drawn)
    assert (size, log) == (expected_size, {**expected_log, "addrop_share": 0})


@pytest.mark.parametrize("name", KINDS)
def test_the_logged_share_is_of_queries_with_influence(kind, name):
    """With q of 1 that of the candidates: of 2, 3 or 4 keys 1, 1 or 2 with p of 0.3."""
    setup = kind(name, ALWAYS, *NO_DROPOUT, "--addrop-p=0.3", "--addrop-q=1")
    log = masks_of(setup)[1][2]
    assert 0.3 <= logged(setup.criterion, log)["addrop_share"] <= 0.5


def test_a_query_without_influence_does_not_count_in_the_share():
    attributions = torch.tensor([[3.0, 1.0, 2.0, 9.0], [0.0, 0.0, 0.0, 9.0]])
    is_key = torch.tensor([[True, True, True, False]])
    dropped = torch.tensor([[True, False, False, False], [True, True, False, False]])
    mask = LayerMask(attributions, is_key, dropped)
    assert share_of([mask], torch.device("cpu")).item() == pytest.approx(1 / 3)


class ProductShapes(TorchDispatchMode):
    """Gathers the shapes that matrix products give."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.found.add(tuple(sorted(result.shape)))
        return result


def test_no_gradient_of_a_weight_is_computed_for_the_attribution(kind):
    setup = kind("translation")
    layers = setup.criterion.attention_drop.layers(setup.model.train())
    weights = {tuple(sorted(p.shape)) for p in setup.model.parameters() if p.dim() == 2}
    with record_attention(layers) as seen:
        target = setup.criterion.scores(setup.model, setup.sample).sum()
    with ProductShapes() as of_attribution:
        torch.autograd.grad(target, list(seen.values()), retain_graph=True)
    with ProductShapes() as of_training:
        target.backward()
    assert of_attribution.found and not of_attribution.found & weights
    assert of_training.found & weights


def test_random_numbers_go_on_where_they_were_after_an_exception(kind):
    setup = kind("translation", "--addrop-attribution=integrated", "--addrop-steps=2")
    drop, states = setup.criterion.attention_drop, []

    def scores():
        if states:
            raise MemoryError
        found = setup.criterion.scores(setup.model, setup.sample)
        states.append(torch.get_rng_state())
        return found

    with pytest.raises(MemoryError):
        drop.attributions(drop.layers(setup.model.train()), scores)
    assert torch.equal(torch.get_rng_state(), states[0])


def renormalised(attention, dropped):
    attention = attention * ~dropped.flatten(0, 1)
    return (attention / attention.sum(-1, keepdim=True),)


def flat(value):
    return [x for v in value.values() for x in flat(v)] if isinstance(value, dict) else [value]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("attribution", ["gradient", "integrated", "attention"])
def test_gold_labels_do_not_leak(kind, name, attribution):
    """Other labels, the same masks; and attribution by the labels would give others."""
    setup = kind(name, ALWAYS, f"--addrop-attribution={attribution}", "--addrop-steps=2")
    other = {**setup.sample, "target": other_labels(setup.sample["target"], name)}
    assert not torch.equal(other["target"], setup.sample["target"])
    masks, (loss, *_) = masks_of(setup)
    same, (others, *_) = masks_of(setup, other)
    assert all(map(torch.equal, masks, same))
    assert not torch.equal(loss, others)
    if attribution == "gradient":
        leaking = masks_of(leak(setup))[0]
        assert not all(map(torch.equal, leaking, masks_of(leak(setup), other)[0]))


def other_labels(target, name):
    if name == "regression":
        return -target - 1
    if name == "classes":
        return (target + 1) % 3
    return torch.where(target.ne(PAD), target % 30 + 5, target)


def leak(setup):
    """A criterion whose attribution is that of its own loss, by the gold labels."""

    def by_gold(model, sample):
        return -parent(setup)(model, sample)[0].view(1, 1)

    setup.criterion.scores = by_gold
    return setup


def test_padding_does_not_count_in_the_attribution(kind):
    setup = kind("translation", *NO_DROPOUT)
    target = setup.sample["target"]
    scores = setup.criterion.scores(setup.model, setup.sample)
    assert len(scores) == target.ne(PAD).sum() < target.numel()
    log_probs = setup.model(**setup.sample["net_input"])[0].log_softmax(-1)
    torch.testing.assert_close(scores, log_probs[target.ne(PAD)])


def test_regression_is_attributed_by_the_output_itself(kind):
    setup = kind("regression", *NO_DROPOUT)
    drop = setup.criterion.attention_drop
    layers = drop.layers(setup.model.train())
    scores = lambda: setup.criterion.scores(setup.model, setup.sample)  # noqa: E731
    found = drop.attributions(layers, scores)
    with record_attention(layers) as seen:
        output = setup.model(
            **setup.sample["net_input"],
            features_only=True,
            classification_head_name="sentence_classification_head",
        )[0]
    expected = torch.autograd.grad(output.sum(), list(seen.values()))
    for layer, gradient in zip(layers, expected):
        torch.testing.assert_close(found[layer], gradient)


def parameters(trainer):
    return torch.nn.utils.parameters_to_vector(trainer.model.parameters())


@pytest.mark.parametrize("precision", [(), ("--memory-efficient-fp16",)], ids=["fp32", "fp16"])
def test_a_plain_epoch_is_the_parents_to_the_last_digit(trainer, precision):
    """Loss, log, parameters and random numbers; the next epoch is not plain."""
    model = (*TINY_TRANSFORMER, "--dropout=0.2", "--report-accuracy", *precision)
    ours, sample = trainer(*model, *ADDROP, "--addrop-p=0.5", "--addrop-q=0.5")
    plain, _ = trainer(*model, *PLAIN)
    for epoch in (1, 2, 3):
        ours.begin_epoch(epoch)
        plain.begin_epoch(epoch)
        if epoch == 3:  # from the same parameters
            plain.model.load_state_dict(ours.model.state_dict())
        logs = []
        for one in (ours, plain):
            log = one.train_step([sample])
            logs.append((log, torch.get_rng_state()))
        (log, drawn), (expected, expected_drawn) = logs
        if epoch == 2:
            assert log["addrop_share"] > 0
            assert log["loss"] != expected["loss"]
            assert not torch.equal(parameters(ours), parameters(plain))
        else:
            assert log["addrop_share"] == 0
            assert torch.equal(drawn, expected_drawn)
            assert log["loss"] == expected["loss"]
        if epoch == 1:
            assert {key: log[key] for key in expected} == expected
            assert torch.equal(parameters(ours), parameters(plain))


@pytest.mark.parametrize("precision", [(), ("--memory-efficient-fp16",)], ids=["fp32", "fp16"])
@pytest.mark.parametrize("attribution", ["gradient", "integrated", "attention", "random"])
def test_the_trainer_learns(trainer, attribution, precision):
    options = (ALWAYS, f"--addrop-attribution={attribution}", "--addrop-steps=2")
    one, sample = trainer(*TINY_TRANSFORMER, *ADDROP, *options, *precision)
    logs = [one.train_step([sample, sample]) for _ in range(7)]
    logs = [log for log in logs if log]  # not those that overflow
    assert len(logs) > 4
    assert logs[-1]["nll_loss"] < logs[0]["nll_loss"] - 0.05
    assert all(math.isfinite(log["loss"]) and 0 < log["addrop_share"] < 0.2 for log in logs)


def test_rows_of_tiny_probabilities_do_not_overflow_half_precision(trainer):
    """The logits are masked, not the probabilities divided by what is left of them."""
    options = (ALWAYS, "--addrop-p=1", "--addrop-q=1", "--addrop-attribution=attention")
    one, sample = trainer(*TINY_TRANSFORMER, *ADDROP, *options, "--memory-efficient-fp16")
    with torch.no_grad():
        for layer in one.model.encoder.layers:
            layer.self_attn.q_proj.weight.mul_(60)
    assert one.train_step([sample])
    assert all(p.isfinite().all() for p in one.model.parameters())


def test_epochs_alternate_and_the_first_is_plain(trainer):
    one, sample = trainer(*TINY_TRANSFORMER, *ADDROP)
    shares = []
    for epoch in (1, 2, 3, 4, 7, 8):
        one.begin_epoch(epoch)
        shares.append(one.train_step([sample])["addrop_share"] > 0)
    assert shares == [False, True] * 3


def test_an_unpatched_trainer_is_refused_since_it_tells_no_epoch(trainer):
    one, sample = trainer(*TINY_TRANSFORMER, *ADDROP)
    with pytest.raises(RuntimeError, match="train without RDROP_FAIRSEQ_PATCHES=off, or") as error:
        one.train_step([sample])
    assert "\n" not in str(error.value)


def test_a_training_resumed_in_mid_epoch_goes_on_with_its_kind(corpus, tmp_path):
    words = (
        *("fairseq-train", corpus.translation, USER_DIR, *TRAINING, *TINY_TRANSFORMER, *ADDROP),
        *("--batch-size=40", "--max-tokens=1000", "--disable-validation", "--log-format=json"),
        *("--save-interval-updates=7", "--dropout=0.2"),
    )
    whole = fork(*words, f"--save-dir={tmp_path / 'whole'}", "--max-epoch=3").stdout
    parts = [
        fork(*words, f"--save-dir={tmp_path / 'parts'}", *stop).stdout
        for stop in (("--max-update=7",), ("--max-epoch=3",))
    ]
    shares = [shares_of(text) for text in (whole, *parts)]
    assert [share > 0 for share in shares[0]] == [False] * 5 + [True] * 5 + [False] * 5
    assert shares[1] + shares[2] == shares[0]
    last = [tmp_path / name / "checkpoint_last.pt" for name in ("whole", "parts")]
    saved = [torch.load(file)["model"] for file in last]
    assert all(torch.equal(value, saved[1][name]) for name, value in trained(saved[0]).items())


def shares_of(text):
    return [float(x) for x in re.findall(r'train_inner.*"addrop_share": "([^"]*)"', text)]


@pytest.mark.parametrize("name", ["classes", "regression"])
def test_fairseq_train_takes_sentences(labelled, tmp_path, name):
    words = TWO_LAYER_CLASSES if name == "classes" else REGRESSION
    text = fork(
        *("fairseq-train", labelled, USER_DIR, *TRAINING, *words, *ADDROP_SENTENCES),
        *("--addrop-layers=0", f"--save-dir={tmp_path}", "--max-epoch=2", "--log-format=json"),
        *("--max-tokens=1000", "--no-save"),
    ).stdout
    shares = shares_of(text)
    assert shares[0] == 0 < shares[-1]
    assert "null" not in text and "nan" not in text


@pytest.mark.parametrize("model", ["transformer", "transformer_align", "bart"])
def test_models_with_fairseqs_attention_train(built, corpus, model):
    for kind in ("encoder", "decoder", "cross"):
        options = (*TRANSLATION[model], *ADDROP, ALWAYS, f"--addrop-attention={kind}")
        setup = built(corpus.translation, *options)
        loss = setup.criterion(setup.model.train(), setup.sample)[0]
        loss.backward()
        assert loss.isfinite()


def test_layers_that_layerdrop_leaves_out_are_no_obstacle(trainer):
    options = (ALWAYS, "--addrop-layers=0", "--encoder-layerdrop=0.999")
    one, sample = trainer(*TINY_TRANSFORMER, *ADDROP, *options)
    assert one.train_step([sample])["addrop_share"] == 0
    nothing = share_of([], torch.device("cpu"))
    assert torch.is_tensor(nothing) and nothing == 0


REFUSED = {
    "has none of the kind --addrop-attention encoder": TRANSLATION["lstm"],
    "this FConvModel has none": TRANSLATION["fconv"],
    "names layer 3, and this model has": (*TINY_TRANSFORMER, "--addrop-layers=0,3"),
    "does not go with": (*TINY_TRANSFORMER, "--checkpoint-activations"),
}


@pytest.mark.parametrize(("message", "arguments"), REFUSED.items(), ids=list(REFUSED))
def test_what_cannot_be_dropped_is_refused_at_the_first_update(trainer, message, arguments):
    one, sample = trainer(*arguments, *ADDROP)
    one.begin_epoch(1)
    with pytest.raises(NotImplementedError, match=message) as refusal:
        one.train_step([sample])
    assert "\n" not in str(refusal.value)


def test_xformers_are_refused(kind):
    setup = kind("translation", ALWAYS)
    setup.model.encoder.layers[0].self_attn.use_xformers = True
    with pytest.raises(NotImplementedError, match="train without --encoder-xformers-att-config$"):
        setup.criterion(setup.model.train(), setup.sample)


def test_layers_that_share_their_attention_are_refused(built, corpus):
    setup = built(corpus.translation, *TINY_TRANSFORMER, "--encoder-layers=2", *ADDROP, ALWAYS)
    first, second = setup.model.encoder.layers
    second.self_attn = first.self_attn
    with pytest.raises(NotImplementedError, match="that do not share their attention$"):
        setup.criterion(setup.model.train(), setup.sample)


@pytest.mark.parametrize("options", [ADDROP, (*RDROP, "--rdrop-second-view=addrop")])
def test_sharded_weights_are_refused(built, corpus, options):
    class FullyShardedDataParallel(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    setup = built(corpus.translation, *TINY_TRANSFORMER, *options)
    sharded = FullyShardedDataParallel(setup.model).train()
    with pytest.raises(NotImplementedError, match="fully_sharded does not give: train with ano"):
        setup.criterion(sharded, setup.sample)


def test_a_language_model_has_no_encoder(kind):
    setup = kind("language model", "--addrop-attention=encoder")
    with pytest.raises(NotImplementedError, match="encoder: choose another kind"):
        setup.criterion(setup.model.train(), setup.sample)


SECOND_VIEW = ("--rdrop-second-view=addrop", "--addrop-p=0.6", "--addrop-q=0.6")


@pytest.mark.parametrize("share", ["1", "0.5"])
def test_rdrop_with_a_second_view_of_addrop(trainer, share):
    options = (*SECOND_VIEW, f"--rdrop-share={share}", *NO_DROPOUT)
    one, sample = trainer(*TINY_TRANSFORMER, *RDROP, *options)
    assert isinstance(one.get_criterion().views, AttributedViews)
    logs = [one.train_step([sample, sample]) for _ in range(5)]
    assert all(log["kl_loss"] > 0 for log in logs)  # though there is no dropout
    assert logs[-1]["nll_loss"] < logs[0]["nll_loss"]


def test_the_second_view_is_a_pass_with_the_masks_of_the_first(transformer):
    setup = transformer(*SECOND_VIEW, "--dropout=0.2")
    views, model = setup.criterion.views, setup.model.train()
    run = lambda sample: model(**sample["net_input"])[0]  # noqa: E731
    torch.manual_seed(5)
    (group,) = views.groups(model, run, setup.sample, None)
    torch.manual_seed(5)
    first = run(setup.sample)
    with views.drop.dropped(model, lambda: views.scores(model, setup.sample)):
        second = run(setup.sample)
    assert torch.equal(group.output, torch.stack([first, second]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rdrop-views=3",), "^--rdrop-second-view addrop is for two passes, not for"),
        (("--rdrop-second-dropout=0.2",), "^the second pass differs in one way: give --rdrop-sec"),
    ],
)
def test_a_second_view_of_addrop_is_refused_beside_others(transformer, arguments, message):
    with pytest.raises(ValueError, match=message):
        transformer(*SECOND_VIEW, *arguments)


@pytest.mark.parametrize("argument", ["--addrop-p=0.6", "--addrop-attribution=random"])
def test_options_of_addrop_are_refused_where_they_would_do_nothing(transformer, argument):
    with pytest.raises(ValueError, match="does nothing alone: give --rdrop-second-view addrop"):
        transformer(argument)


def test_all_is_as_before_after_an_update(kind):
    setup = kind("translation", ALWAYS)
    layers = [m for m in setup.model.modules() if isinstance(m, MultiheadAttention)]
    setup.criterion(setup.model.train(), setup.sample)[0].backward()
    for layer in layers:
        assert not layer.skip_embed_dim_check and "apply_sparse_mask" not in vars(layer)
        assert not layer._forward_pre_hooks and not layer.dropout_module._forward_pre_hooks
