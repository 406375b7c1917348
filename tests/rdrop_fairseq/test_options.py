"""Every option of every criterion: a value out of range is refused in one sentence."""

import copy
import math

import pytest
from fairseq import options as fairseq_options
from helpers.constants import TINY_TRANSFORMER
from helpers.sentences import CLASSES, LABELS, write_sentences

import rdrop_fairseq  # noqa: F401  (registers the criteria)
from rdrop_fairseq.options import ADAPTIVE, ADDROP, LABEL_SMOOTHING, RDROP, SENTENCES, SIMCUT

OUT_OF_RANGE = {
    "reg_alpha": (-1.0, math.nan, math.inf),
    "rdrop_start_update": (-1,),
    "rdrop_ramp_updates": (-1,),
    "rdrop_every": (0, -2),
    "rdrop_share": (0.0, -0.5, 1.5, math.nan),
    "rdrop_views": (1, 0),
    "rdrop_second_dropout": (1.0, -0.1, math.nan),
    "view_cutoff": (1.0, -0.1, math.nan),
    "rdrop_second_view": ("cutoff",),
    "addrop_p": (-0.1, 1.1, math.nan),
    "addrop_q": (-0.1, 1.1, math.nan),
    "addrop_attribution": ("GA",),
    "addrop_layers": ("-1", "0,", "first"),
    "addrop_attention": ("self",),
    "addrop_steps": (0,),
    "no_cross_tuning": (),  # has no value
    "rdrop_chunk_size": (0,),
    "rdrop_chunk_memory": (0,),
    "rdrop_kernel": ("cuda",),
    "rdrop_loss": ("quick",),
    "label_smoothing": (1.0, -0.1),
}
CRITERIA = {
    "rdrop_label_smoothed_cross_entropy": (*RDROP, LABEL_SMOOTHING),
    "simcut_label_smoothed_cross_entropy": (*SIMCUT, LABEL_SMOOTHING),
    "addrop_label_smoothed_cross_entropy": (*ADDROP, LABEL_SMOOTHING),
    "rdrop_adaptive_loss": ADAPTIVE,
    "rdrop_sentence_prediction": SENTENCES,
    "addrop_sentence_prediction": ADDROP,
}
CASES = [
    (criterion, option, value)
    for criterion, options in CRITERIA.items()
    for option in (option.name for option in options)
    for value in OUT_OF_RANGE[option]
]


@pytest.mark.parametrize(("criterion", "option", "value"), CASES)
def test_on_the_command_line(capsys, criterion, option, value):
    flag = f"--{option.replace('_', '-')}"
    words = ["data", *TINY_TRANSFORMER, f"--criterion={criterion}", f"{flag}={value}"]
    with pytest.raises(SystemExit):
        fairseq_options.parse_args_and_arch(fairseq_options.get_training_parser(), words)
    last_line = capsys.readouterr().err.strip().split("\n")[-1]
    assert f"error: argument {flag}: " in last_line
    assert f"({flag}) must " in last_line or f"invalid choice: '{value}'" in last_line
    assert str(value) in last_line


@pytest.fixture(scope="module")
def setups(built, corpus, tmp_path_factory):
    """Each criterion, built with its defaults."""
    sentences = write_sentences(tmp_path_factory.mktemp("sentences"), LABELS)

    def build(name):
        if name.endswith("sentence_prediction"):
            return built(sentences, *CLASSES, f"--criterion={name}")
        words = (*TINY_TRANSFORMER, f"--criterion={name}", "--ddp-backend=legacy_ddp")
        return built(corpus.translation, *words)

    return {name: build(name) for name in CRITERIA}


@pytest.mark.parametrize(("criterion", "option", "value"), CASES)
def test_in_a_config(setups, criterion, option, value):
    setup = setups[criterion]
    cfg = copy.deepcopy(setup.cfg.criterion)
    cfg[option] = value
    flag = f"--{option.replace('_', '-')}"
    with pytest.raises(ValueError, match=rf"\({flag}\) must .*, not {value}$") as error:
        type(setup.criterion)(cfg, setup.task)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_the_defaults_are_those_of_the_options(setups, criterion):
    defaults = {option.name: option.default for option in CRITERIA[criterion]}
    assert {name: setups[criterion].cfg.criterion[name] for name in defaults} == defaults
