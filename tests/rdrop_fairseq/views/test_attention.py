"""AD-DROP's hooks on fairseq's attention, against fused attention and passes by hand."""

import contextlib
import itertools
import math
import random
from types import SimpleNamespace

import pytest
import torch
from fairseq import utils
from fairseq.modules import MultiheadAttention
from helpers.constants import NO_DROPOUT, PAD, SIZES_OF_TWO_LAYERS

from rdrop_fairseq.options import ATTENTION_DROP
from rdrop_fairseq.views.addrop import AttentionDrop
from rdrop_fairseq.views.attention import record_attention, unfused_attention
from rdrop_fairseq.views.attribution import kept_positions

DEFAULTS = {option.name: option.default for option in ATTENTION_DROP}


def attention_drop(**options):
    given = {f"addrop_{name}": value for name, value in options.items()}
    return AttentionDrop(SimpleNamespace(**{**DEFAULTS, **given}))


@pytest.fixture
def two_layers(transformer, monkeypatch):
    """A model of two layers, all in float64, sentences of many lengths, the scores of a pass."""
    monkeypatch.setattr(utils, "softmax", lambda x, dim, onnx_trace=False: x.softmax(dim))
    monkeypatch.setattr(utils, "log_softmax", lambda x, dim, onnx_trace=False: x.log_softmax(dim))

    def build(*arguments):
        criterion = "--criterion=addrop_label_smoothed_cross_entropy"
        setup = transformer(*SIZES_OF_TWO_LAYERS, criterion, *arguments)
        setup.model.double().train()
        data = setup.task.dataset("train")
        setup.sample = data.collater([data[index] for index in range(8)])
        setup.scores = lambda: setup.criterion.scores(setup.model, setup.sample)
        assert setup.sample["net_input"]["src_tokens"].eq(PAD).any()
        return setup

    return build


def logits_of(setup):
    return setup.model(**setup.sample["net_input"])[0]


def state_of(model):
    """All that the hooks could leave behind."""
    return [
        (layer.skip_embed_dim_check, "apply_sparse_mask" in vars(layer), len(hooks))
        for layer in model.modules()
        if isinstance(layer, MultiheadAttention)
        for module in (layer, layer.dropout_module)
        for hooks in (module._forward_pre_hooks, module._forward_hooks)
    ]


@contextlib.contextmanager
def minus_infinity(layers, masks):
    """PyTorch's fused attention with a mask of its own for every sentence and head."""
    with contextlib.ExitStack() as hooks:
        for layer, (_, keys, dropped) in zip(layers, masks):

            def change(layer, args, kwargs, hidden=dropped | ~keys):
                logits = torch.zeros(hidden.shape, dtype=torch.float64)
                logits = logits.masked_fill(hidden, -math.inf).flatten(0, 1)
                fused = {"attn_mask": logits, "key_padding_mask": None, "static_kv": False}
                return args, {**kwargs, **fused}

            hook = layer.register_forward_pre_hook(change, with_kwargs=True)
            hooks.callback(hook.remove)
        yield


@contextlib.contextmanager
def renormalised(layers, masks):
    """fairseq's own attention, whose probabilities are multiplied by the mask and renormalised."""
    with unfused_attention(layers), contextlib.ExitStack() as hooks:
        for layer, (_, _, dropped) in zip(layers, masks):

            def change(dropout, inputs, dropped=dropped):
                attention = inputs[0] * ~dropped.flatten(0, 1)
                return attention / attention.sum(-1, keepdim=True)

            hooks.callback(layer.dropout_module.register_forward_pre_hook(change).remove)
        yield


@pytest.mark.parametrize("attribution", ["gradient", "integrated", "attention", "random"])
@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
def test_the_second_pass_is_one_with_logits_at_minus_infinity(two_layers, kind, attribution):
    setup = two_layers(*NO_DROPOUT)
    drop = attention_drop(p=0.6, q=0.7, attribution=attribution, attention=kind, steps=2)
    parameters = list(setup.model.parameters())
    plain = logits_of(setup)
    with drop.dropped(setup.model, setup.scores) as masks:
        found = logits_of(setup)
    assert len(masks) == 2
    assert not torch.allclose(found, plain)
    layers = drop.layers(setup.model)
    weights = torch.randn_like(found)
    gradients = torch.autograd.grad((found * weights).sum(), parameters, allow_unused=True)
    for by_hand in (minus_infinity, renormalised):
        with by_hand(layers, masks):
            expected = logits_of(setup)
        torch.testing.assert_close(found, expected)
        others = torch.autograd.grad((expected * weights).sum(), parameters, allow_unused=True)
        torch.testing.assert_close(gradients, others)
    assert torch.equal(logits_of(setup), plain)


@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
def test_the_keys_are_those_that_a_query_can_see(two_layers, kind):
    setup = two_layers()
    with attention_drop(p=1, q=1, attention=kind).dropped(setup.model, setup.scores) as masks:
        logits_of(setup)
    inputs = setup.sample["net_input"]
    side = inputs["prev_output_tokens" if kind == "decoder" else "src_tokens"]
    visible = side.ne(PAD)[:, None, None]
    if kind == "decoder":
        visible = visible & torch.ones(side.size(1), side.size(1)).tril().bool()
    for _, keys, dropped in masks:
        assert torch.equal(keys.expand_as(dropped), visible.expand_as(dropped))
        # with p and q of 1 each row loses all but one
        left = (visible & ~dropped).sum(-1)
        assert torch.equal(left, visible.any(-1).expand_as(left).long())


def test_only_the_chosen_layers_lose_positions(two_layers):
    setup = two_layers(*NO_DROPOUT)
    first, second, both = (attention_drop(layers=layers, q=1) for layers in ("0", "1", "1,0"))
    layers = [layer.self_attn for layer in setup.model.encoder.layers]
    assert [drop.layers(setup.model) for drop in (first, second, both)] == [
        layers[:1], layers[1:], layers[::-1],
    ]  # fmt: skip
    with second.dropped(setup.model, setup.scores) as masks:
        logits_of(setup)
    assert len(masks) == 1


def attention_with(setup, layer, change):
    """t of fixed pseudo-labels, where a function changes the attention of a layer."""
    with unfused_attention([layer]), torch.no_grad():
        hook = layer.dropout_module.register_forward_pre_hook(
            lambda dropout, inputs: change(inputs[0])
        )
        scores = setup.scores()
        hook.remove()
    return scores


@pytest.mark.parametrize("number", [0, 1])
def test_gradients_are_those_of_finite_differences_and_integrals_of_them(two_layers, number):
    setup = two_layers(*NO_DROPOUT)
    layer = setup.model.encoder.layers[number].self_attn
    labels = setup.scores().argmax(-1, keepdim=True)
    target = lambda change: attention_with(setup, layer, change).gather(-1, labels).sum()  # noqa: E731
    drop = {
        name: attention_drop(attribution=name, steps=3)
        for name in ("gradient", "integrated", "attention")
    }
    found = {
        name: one.attributions(one.layers(setup.model), setup.scores)[layer]
        for name, one in drop.items()
    }
    attention = found["attention"]
    torch.testing.assert_close(attention.sum(-1), torch.ones_like(attention[..., 0]))
    for place in random.Random(1).sample(range(attention.numel()), 12):
        shift = torch.zeros_like(attention)
        shift.view(-1)[place] = 1e-6

        def slope(scale, shift=shift):
            up, down = (target(lambda a, s=s: a * scale + s) for s in (shift, -shift))
            return ((up - down) / 2e-6).item()

        near = dict(rel=1e-4, abs=1e-7)
        assert found["gradient"].flatten()[place].item() == pytest.approx(slope(1), **near)
        mean = sum(slope(k / 3) for k in (1, 2, 3)) / 3
        expected = attention.flatten()[place].item() * mean
        assert found["integrated"].flatten()[place].item() == pytest.approx(expected, **near)


def test_each_step_of_the_integral_has_the_dropout_of_the_first_pass(two_layers):
    setup = two_layers("--dropout=0.3", "--attention-dropout=0.2")
    drop = attention_drop(attribution="integrated", steps=1)
    layers = drop.layers(setup.model)
    torch.manual_seed(3)
    found = drop.attributions(layers, setup.scores)
    after = torch.get_rng_state()
    torch.manual_seed(3)
    gradient = attention_drop().attributions(layers, setup.scores)
    assert torch.equal(torch.get_rng_state(), after)  # so the steps draw nothing of their own
    torch.manual_seed(3)
    attention = attention_drop(attribution="attention").attributions(layers, setup.scores)
    for layer in layers:  # with one step A times dt/dA
        torch.testing.assert_close(found[layer], attention[layer] * gradient[layer])
    assert setup.model.training


def test_each_pass_of_the_integral_takes_the_path_of_the_first(two_layers, monkeypatch):
    """PyTorch's fused attention draws other masks than fairseq's own on some devices."""
    setup = two_layers("--attention-dropout=0.2")
    fused, counts = torch.nn.functional.multi_head_attention_forward, []

    def counted(*args, **kwargs):
        counts[-1] += 1
        return fused(*args, **kwargs)

    def scores():
        counts.append(0)
        return setup.scores()

    monkeypatch.setattr(torch.nn.functional, "multi_head_attention_forward", counted)
    drop = attention_drop(attribution="integrated", steps=2)
    drop.attributions(drop.layers(setup.model), scores)
    assert len(counts) == 5 and len(set(counts)) == 1
    counts.append(0)
    setup.scores()
    assert counts[-1] > counts[0]  # in a pass of its own the encoder takes the fused path


def test_pseudo_labels_stay_while_the_attention_is_scaled(two_layers):
    """The target of every step is the same function, though the scaled model has other answers."""
    setup = two_layers(*NO_DROPOUT)
    layer = setup.model.encoder.layers[0].self_attn
    labels = []
    drop = attention_drop(attribution="integrated", layers="0", steps=2)
    original = drop._gradient_at
    drop._gradient_at = lambda scores, given, *rest: (
        labels.append(given) or original(scores, given, *rest)
    )
    drop.attributions([layer], setup.scores)
    assert len(labels) == 2
    expected = setup.scores().argmax(-1, keepdim=True)
    assert all(torch.equal(label, expected) for label in labels)


def test_random_attribution_drops_p_q_of_the_keys_and_makes_no_first_pass(two_layers):
    setup = two_layers()
    drop = attention_drop(p=0.5, q=0.4, attribution="random")
    counts = torch.zeros(2)
    for seed in range(30):
        torch.manual_seed(seed)
        with drop.dropped(setup.model, lambda: pytest.fail("a first pass")) as masks:
            logits_of(setup)
        for _, keys, dropped in masks:
            long = keys.expand_as(dropped).sum(-1, keepdim=True) > 5  # none loses all its keys
            counts += torch.stack([(dropped & long).sum(), (keys & long).expand_as(dropped).sum()])
    dropped, total = counts.tolist()
    assert abs(dropped / total - 0.2) < 4 * math.sqrt(0.2 * 0.8 / total)


@pytest.mark.parametrize("attribution", ["gradient", "integrated", "attention"])
def test_the_first_pass_leaves_no_gradient(two_layers, attribution):
    setup = two_layers()
    drop = attention_drop(attribution=attribution, steps=2)
    with drop.dropped(setup.model, setup.scores):
        pass
    assert all(parameter.grad is None for parameter in setup.model.parameters())
    assert all(parameter.requires_grad for parameter in setup.model.parameters())


def test_layers_below_may_be_frozen(two_layers):
    setup = two_layers(*NO_DROPOUT)
    drop = attention_drop()
    expected = drop.attributions(drop.layers(setup.model), setup.scores)
    setup.model.encoder.requires_grad_(False)
    found = drop.attributions(drop.layers(setup.model), setup.scores)
    for layer, gradient in expected.items():
        torch.testing.assert_close(found[layer], gradient)


@pytest.mark.parametrize("moment", ["first", "second"])
def test_all_is_restored_after_an_exception(two_layers, moment):
    setup = two_layers()
    before = state_of(setup.model)
    passes = itertools.count()

    def fail(*_):
        if moment == "first" or next(passes) == 1:
            raise ZeroDivisionError

    hook = setup.model.encoder.layers[1].register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError), attention_drop().dropped(setup.model, setup.scores):
        assert state_of(setup.model) != before
        logits_of(setup)
    hook.remove()
    assert state_of(setup.model) == before


def test_a_layer_that_is_skipped_in_the_first_pass_loses_nothing(two_layers):
    setup = two_layers()
    skipped = setup.model.encoder.layers[1]
    drop = attention_drop(p=1, q=1)
    forward, skipped.forward = skipped.forward, lambda x, *args, **kwargs: x
    drop_layers = drop.layers(setup.model)
    attributions = drop.attributions(drop_layers, setup.scores)
    skipped.forward = forward
    assert list(attributions) == [drop_layers[0]]
    drop.attributions = lambda *_: attributions
    with drop.dropped(setup.model, setup.scores) as masks:
        logits_of(setup)
    assert len(masks) == 1


def test_the_mask_is_that_of_the_attributions(two_layers):
    setup = two_layers(*NO_DROPOUT)
    drop = attention_drop(p=0.4, q=0.6, layers="1")
    (layer,) = drop.layers(setup.model)
    torch.manual_seed(3)
    with drop.dropped(setup.model, setup.scores) as masks:
        logits_of(setup)
    ((_, keys, dropped),) = masks
    attributions = drop.attributions([layer], setup.scores)[layer].view(dropped.shape)
    torch.manual_seed(3)
    assert torch.equal(dropped, ~kept_positions(attributions, 0.4, 0.6, keys))


def test_attention_is_seen_before_its_dropout(two_layers):
    setup = two_layers("--attention-dropout=0.5")
    layers = attention_drop().layers(setup.model)
    with record_attention(layers) as seen:
        logits_of(setup)
    for attention in seen.values():
        torch.testing.assert_close(attention.sum(-1), torch.ones_like(attention[..., 0]))
