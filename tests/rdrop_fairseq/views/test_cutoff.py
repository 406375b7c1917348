"""Token cutoff: which embeddings are zero, against a model that has them zeroed by hand."""

import pytest
import torch
from fairseq.models.transformer import TransformerModelBase
from helpers.constants import NO_DROPOUT, PAD, RDROP, TIED
from helpers.models import LANGUAGE_MODEL, TRANSLATION

from rdrop_fairseq.model_output import linear_projection
from rdrop_fairseq.views.cutoff import cut_tokens, embeddings, first_token, source_end
from rdrop_fairseq.views.repeat import RepeatedViews, repeat_sample

LEFT_AND_RIGHT = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]])


def test_first_token_and_source_end_with_padding_on_either_side():
    mask = LEFT_AND_RIGHT.bool()
    assert first_token(mask).int().tolist() == [
        *([0, 0, 1, 0, 0], [1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0])
    ]
    assert source_end(mask).int().tolist() == [
        *([0, 0, 0, 0, 1], [0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0])
    ]


class Side(torch.nn.Module):
    def __init__(self, embed_tokens):
        super().__init__()
        self.embed_tokens = embed_tokens


class Embeddings(torch.nn.Module):
    """The embeddings of a model alone: all ones, but those of padding."""

    def __init__(self, shared):
        super().__init__()
        one, other = (torch.nn.Embedding(9, 3, padding_idx=PAD) for _ in range(2))
        for embedding in (one, other):
            torch.nn.init.ones_(embedding.weight)
        self.encoder, self.decoder = Side(one), Side(one if shared else other)

    def forward(self, source, target):
        """Which positions are not zero, on each side."""
        sides = zip((self.encoder, self.decoder), (source, target))
        return [side.embed_tokens(tokens).ne(0).all(-1) for side, tokens in sides]


@pytest.mark.parametrize("shared", [True, False])
def test_cuts_with_the_probability_and_never_what_is_protected(shared):
    model, rows = Embeddings(shared), 4000
    tokens = torch.full((2 * rows, 5), 4)
    tokens[::4, :2], tokens[1::4, 3:] = PAD, PAD  # on the left, on the right
    is_cut = torch.arange(2 * rows) % 4 < 2
    torch.manual_seed(1)
    with cut_tokens(model, 0.3, is_cut):
        source, target = model(tokens, tokens)
    token = tokens.ne(PAD)
    for kept, protected in ((source, source_end(token)), (target, first_token(token))):
        assert kept[protected].all()
        assert torch.equal(kept[~is_cut], token[~is_cut])
        chance = kept[is_cut][(token & ~protected)[is_cut]].double().mean()
        assert chance.item() == pytest.approx(0.7, abs=0.02)
    assert not torch.equal(source & ~source_end(token), target & ~first_token(token))


def test_with_probability_0_no_number_is_drawn_and_no_hook_set():
    model, before = Embeddings(shared=True), torch.get_rng_state()
    with cut_tokens(model, 0.0, torch.ones(2, dtype=torch.bool)):
        assert not model.encoder.embed_tokens._forward_hooks
        model(*torch.full((2, 2, 5), 4))
    assert torch.equal(torch.get_rng_state(), before)


def add_a_zero_row(model):
    """Have the embeddings know one token more, whose embedding is zero."""
    for side in filter(None, (getattr(model, "encoder", None), model.decoder)):
        weight = side.embed_tokens.weight.detach()
        weight = torch.cat([weight, torch.zeros_like(weight[:1])])
        side.embed_tokens = torch.nn.Embedding.from_pretrained(weight, padding_idx=PAD)


def zeroed_by_hand(setup, sample, probability, is_cut):
    """What the model gives where the tokens that the same random numbers cut are zero vectors."""
    model, net_input = setup.model, dict(sample["net_input"])
    add_a_zero_row(model)
    zero = len(setup.task.source_dictionary)
    has_encoder = hasattr(model, "encoder")
    for name, end in (("src_tokens", source_end), ("prev_output_tokens", first_token)):
        if name == "src_tokens" and not has_encoder:
            continue
        name = name if has_encoder else "src_tokens"
        tokens = net_input[name]
        cut = torch.rand(tokens.shape).lt(probability) & is_cut.unsqueeze(1)
        cut &= ~end(tokens.ne(PAD)) & tokens.ne(PAD)
        net_input[name] = tokens.masked_fill(cut, zero)
        assert cut.any()
    return model(**net_input)[0]


MODELS = {
    **TRANSLATION,
    "scaled, learned positions": (
        *(*TRANSLATION["transformer"], "--encoder-learned-pos", "--decoder-learned-pos"),
        "--layernorm-embedding",
    ),
    "source padded on the right": (*TRANSLATION["transformer"], "--left-pad-source"),
    "target padded on the left": (*TRANSLATION["transformer"], "--left-pad-target"),
    "checkpointed": (*TRANSLATION["transformer"], "--checkpoint-activations"),
    "lstm": (*TRANSLATION["lstm"], "--left-pad-source"),  # else it moves the padding itself
}


@pytest.mark.parametrize("name", [*MODELS, "language model"])
def test_the_second_view_is_that_of_embeddings_zeroed_by_hand(built, corpus, name):
    if name == "language model":
        arguments = (*LANGUAGE_MODEL, "--tokens-per-sample=20")
        setup = built(corpus.monolingual, *arguments, *NO_DROPOUT, *RDROP)
        tokens_of = lambda module: module.decoder.embed_tokens  # noqa: E731
    else:
        setup = built(corpus.translation, *MODELS[name], *RDROP)
        tokens_of = lambda module: module.encoder.embed_tokens  # noqa: E731
    for module in setup.model.modules():  # without dropout, so that only the cutoff draws numbers
        for attribute in ("p", "dropout"):
            if isinstance(getattr(module, attribute, None), float):
                setattr(module, attribute, 0.0)
    setup.model.train()
    views = RepeatedViews(2, cutoff=0.4)
    run = lambda sample: setup.model(**sample["net_input"])[0]  # noqa: E731
    torch.manual_seed(5)
    (group,) = views.groups(setup.model, run, setup.sample, None)
    assert not tokens_of(setup.model)._forward_hooks
    first, second = group.output
    torch.testing.assert_close(first, run(setup.sample))

    repeated = repeat_sample(setup.sample)
    is_cut = torch.tensor([False, True]).repeat(len(first))
    torch.manual_seed(5)
    expected = zeroed_by_hand(setup, repeated, 0.4, is_cut)
    torch.testing.assert_close(second, expected[1::2])
    assert not torch.allclose(second, first, atol=1e-5)


def test_with_a_share_only_second_views_are_cut(transformer):
    setup = transformer(*NO_DROPOUT)
    setup.model.train()
    chosen = torch.arange(len(setup.sample["target"])) % 3 == 0
    run = lambda sample: setup.model(**sample["net_input"])[0]  # noqa: E731
    many, one = RepeatedViews(3, 0.5).groups(setup.model, run, setup.sample, chosen)
    plain = run(setup.sample)
    torch.testing.assert_close(one.output[0], plain[~chosen])
    torch.testing.assert_close(many.output[0], plain[chosen])
    for view in many.output[1:]:
        assert not torch.allclose(view, plain[chosen], atol=1e-3)
    assert not torch.allclose(*many.output[1:], atol=1e-3)


def test_hooks_are_gone_after_an_exception(transformer):
    model = transformer(TIED).model
    with pytest.raises(ZeroDivisionError), cut_tokens(model, 0.5, torch.ones(1) > 0):
        assert model.encoder.embed_tokens._forward_hooks
        raise ZeroDivisionError
    assert not model.encoder.embed_tokens._forward_hooks


def test_a_cutoff_leaves_the_loss_from_features_and_the_sample_as_they_are(transformer):
    setup = transformer("--view-cutoff=0.3", TIED)
    setup.model.train()
    before = repr(setup.sample)
    _, _, log = setup.criterion(setup.model, setup.sample)
    assert "features" in setup.criterion._head.name and linear_projection(setup.model) is not None
    assert log["kl_loss"] > 0 and repr(setup.sample) == before


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_a_model_without_embed_tokens_is_refused_at_the_first_update(transformer, side):
    setup = transformer("--view-cutoff=0.1", "--rdrop-start-update=1000")
    setup.criterion.set_num_updates(0)
    del getattr(setup.model, side).embed_tokens
    with pytest.raises(NotImplementedError, match=f"the {side} of this model has no embed_tokens"):
        setup.criterion(setup.model.train(), setup.sample)


def test_a_model_without_a_decoder_is_refused():
    with pytest.raises(NotImplementedError, match="the decoder of this model has no embed_tokens"):
        embeddings(torch.nn.Linear(1, 1))


def test_a_transformer_calls_its_shared_embedding_for_the_encoder_first(transformer):
    model = transformer(TIED).model
    assert isinstance(model, TransformerModelBase)
    assert list(embeddings(model).values()) == [["encoder", "decoder"]]
    untied = transformer().model
    assert list(embeddings(untied).values()) == [["encoder"], ["decoder"]]
