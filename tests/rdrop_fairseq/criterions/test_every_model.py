"""One real training step of every kind of model and task that the criterion serves."""

import fairseq
import pytest
import torch
from fairseq.trainer import Trainer
from helpers.constants import RDROP, TINY_TRANSFORMER
from helpers.dropped_terms import DROPPED_TERMS, use_kernel
from helpers.models import LANGUAGE_MODEL, SIZES, TRANSLATION
from helpers.parity import assert_the_numbers_of_the_reference

MULTILINGUAL = (
    *("--task=translation_multi_simple_epoch", "--lang-pairs=de-en", "--langs=de,en"),
    *("--encoder-langtok=src", "--decoder-langtok", *TINY_TRANSFORMER),
)
MULTILINGUAL_MODELS = (
    *("--task=multilingual_translation", "--lang-pairs=de-en", "--arch=multilingual_transformer"),
    *SIZES,
)
DENOISING = (
    *("--task=denoising", "--arch=bart_base", *SIZES, "--tokens-per-sample=64", "--mask=0.3"),
    *("--mask-length=subword", "--replace-length=1", "--sample-break-mode=eos"),
)


def train_one_step(setup):
    before = [parameter.detach().clone() for parameter in setup.model.parameters()]
    trainer = Trainer(setup.cfg, setup.task, setup.model, setup.criterion)
    trainer.begin_epoch(1)
    setup.model.train()
    _, _, logging_output = setup.criterion(setup.model, setup.sample)
    assert logging_output["kl_loss"] > 0
    log = trainer.train_step([setup.sample])
    assert log["loss"] > log["nll_loss"] > 0
    changed = [not torch.equal(old, new) for old, new in zip(before, setup.model.parameters())]
    assert sum(changed) > len(changed) / 2
    assert_the_numbers_of_the_reference(setup.model, setup.criterion, setup.sample)


@pytest.mark.parametrize("name", TRANSLATION)
def test_translation(built, corpus, name):
    train_one_step(built(corpus.translation, *TRANSLATION[name], "--dropout=0.5", *RDROP))


DECODERS = {
    "projected features": ("--decoder-output-dim=8",),
    "tied": ("--share-decoder-input-output-embed",),
    "tied and quantised": ("--share-all-embeddings", "--quant-noise-pq=0.5"),
    "normalised before": ("--decoder-normalize-before",),
    "not normalised": ("--decoder-normalize-before", "--no-decoder-final-norm"),
    "layers left out": ("--decoder-layers=3", "--decoder-layerdrop=0.5"),
    "checkpointed": ("--checkpoint-activations",),
}


@pytest.mark.parametrize("name", DECODERS)
def test_any_decoder_gets_the_numbers_of_the_reference(built, corpus, name):
    setup = built(corpus.translation, *TINY_TRANSFORMER, *DECODERS[name], *RDROP)
    assert_the_numbers_of_the_reference(setup.model, setup.criterion, setup.sample)


@pytest.mark.parametrize("broken", DROPPED_TERMS)
def test_a_dropped_term_is_noticed(built, corpus, monkeypatch, broken):
    setup = built(corpus.translation, *TINY_TRANSFORMER, "--dropout=0.5", *RDROP)
    use_kernel(monkeypatch, broken)
    with pytest.raises(AssertionError, match="not close"):
        assert_the_numbers_of_the_reference(setup.model, setup.criterion, setup.sample)


def test_one_model_for_each_language_pair(built, corpus):
    """Such a model hands every keyword to its encoder too, which knows no ``features_only``."""
    setup = built(corpus.translation, *MULTILINGUAL_MODELS, *RDROP)
    pair = "de-en"
    assert_the_numbers_of_the_reference(
        setup.model.models[pair], setup.criterion, setup.sample[pair]
    )


def test_translation_multi_simple_epoch(built, corpus):
    train_one_step(built(corpus.translation, *MULTILINGUAL, *RDROP))


def test_language_modeling(built, corpus):
    train_one_step(built(corpus.monolingual, *LANGUAGE_MODEL, "--tokens-per-sample=20", *RDROP))


def test_language_modeling_by_sentence(built, corpus):
    """``--sample-break-mode eos`` stops on NumPy 2 without the plugin's patch."""
    arguments = (*LANGUAGE_MODEL, "--sample-break-mode=eos", *RDROP)
    train_one_step(built(corpus.monolingual, *arguments))


def test_language_modeling_with_adaptive_input(built, corpus):
    adaptive = ("--adaptive-input", "--adaptive-input-cutoff=10,20", "--decoder-output-dim=16")
    arguments = (*LANGUAGE_MODEL, *adaptive, "--tokens-per-sample=20", "--dropout=0.3", *RDROP)
    train_one_step(built(corpus.monolingual, *arguments))


@pytest.mark.skipif(
    fairseq.__version__ == "0.12.2",
    reason="fairseq 0.12.2 defines --max-source-positions twice for denoising with bart",
)
def test_denoising(built, corpus):
    train_one_step(built(corpus.monolingual, *DENOISING, *RDROP))


def test_length_buckets(built, corpus):
    """``--num-batch-buckets`` stops on NumPy 2 without the plugin's patch."""
    train_one_step(built(corpus.translation, *TINY_TRANSFORMER, "--num-batch-buckets=3", *RDROP))
