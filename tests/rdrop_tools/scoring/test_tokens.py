"""The tokens of references are scored as fairseq-validate does, correct and wrong ones apart."""

import math
import re

import pytest
import torch
from helpers.constants import TINY_TRANSFORMER, TRAINING, USER_DIR
from helpers.launch import fork

from rdrop_tools.scoring import tokens as program


@pytest.fixture(scope="module")
def training(corpus, tmp_path_factory):
    """The folder of a short training, with what it logged."""
    folder = tmp_path_factory.mktemp("run")
    fork(
        *("fairseq-train", corpus.translation, USER_DIR, *TRAINING, *TINY_TRANSFORMER),
        *("--criterion=label_smoothed_cross_entropy", "--report-accuracy", "--max-update=30"),
        *(f"--save-dir={folder}", f"--log-file={folder / 'log'}", "--log-format=json"),
    )
    return folder


def scores_of(capsys, *words):
    program.main(list(map(str, words)))
    lines = capsys.readouterr().out.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_perplexity_and_accuracy_are_those_of_the_training(training, corpus, capsys):
    found = scores_of(capsys, training / "checkpoint_last.pt", corpus.translation)
    log = (training / "log").read_text()
    (loss,) = re.findall(r'"valid_nll_loss": "([\d.]+)"', log)[-1:]
    (accuracy,) = re.findall(r'"valid_accuracy": "([\d.]+)"', log)[-1:]
    assert math.log2(found["valid ppl"]) == pytest.approx(float(loss), abs=2e-3)
    assert found["valid token accuracy (%)"] == pytest.approx(float(accuracy), abs=0.01)
    assert float(accuracy) > 1
    share = found["valid token accuracy (%)"] / 100
    parts = (
        share * found["valid NLL of correct tokens (bits)"]
        + (1 - share) * found["valid NLL of wrong tokens (bits)"]
    )
    assert parts == pytest.approx(float(loss), abs=2e-3)


def test_scores_of_correct_and_of_wrong_tokens():
    nll = torch.tensor([1.0, 2.0, 6.0]) * math.log(2)
    entropies = torch.tensor([1.0, 1.0, 4.0]) * math.log(2)
    assert program.summary(nll, entropies, torch.tensor([True, True, False])) == {
        "ppl": "8.00",
        "entropy (bits)": "2.000",
        "token accuracy (%)": "66.67",
        "NLL of correct tokens (bits)": "1.500",
        "NLL of wrong tokens (bits)": "6.000",
    }


def test_entropies_are_those_of_the_distributions(training, corpus, capsys, monkeypatch):
    """A model whose distributions are uniform has the logarithm of the vocabulary."""
    monkeypatch.setattr(torch.nn.functional, "log_softmax", uniform)
    found = scores_of(capsys, training / "checkpoint_last.pt", corpus.translation)
    assert 2 ** found["valid entropy (bits)"] == pytest.approx(found["valid ppl"], rel=2e-3)


def uniform(scores, *_, **__):
    return torch.full_like(scores, -math.log(scores.shape[-1]))


@pytest.mark.parametrize(
    ("file", "split", "message"),
    [("checkpoint_last.pt", "dev", "dev"), ("log", "valid", "not a checkpoint of fairseq")],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(training, corpus, file, split, message):
    with pytest.raises(SystemExit, match=message):
        program.main([str(training / file), str(corpus.translation), f"--split={split}"])
