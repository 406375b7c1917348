"""What the README tells a user to type, say and expect is so."""

import dataclasses
import re

import pytest
import torch
from helpers.constants import REPOSITORY

from rdrop_fairseq.compat.patches import PATCHES
from rdrop_fairseq.criterions.rdrop_label_smoothed_cross_entropy import (
    RDropLabelSmoothedCrossEntropyCriterionConfig,
)
from rdrop_fairseq.options import RDROP as OPTIONS

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def code_blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_plain_pytorch_example_runs():
    (example,) = (block for block in code_blocks("python") if "rdrop_loss" in block)
    embedding = torch.nn.Embedding(9, 6)
    model = torch.nn.Sequential(embedding, torch.nn.Dropout(0.5), torch.nn.Linear(6, 9))
    batch = torch.randint(1, 9, (3, 4))
    names = {"model": model, "batch": batch, "target": batch}
    exec(example, names)
    assert names["total"].kl_loss > 0
    assert embedding.weight.grad.any()


def test_the_table_of_flags_is_that_of_the_criterion():
    (table,) = re.findall(r"\| Flag \| Default .*?\n\n", README, re.DOTALL)
    documented = dict(re.findall(r"^\| `--([a-z-]+)` \| ([^|]+) \|", table, re.MULTILINE))
    fields = dataclasses.fields(RDropLabelSmoothedCrossEntropyCriterionConfig)
    flags = {field.name.replace("_", "-"): field.default for field in fields}
    flags.pop("-name", None)
    assert set(documented) == set(flags)
    for flag, default in documented.items():
        if default == "off":
            assert not flags[flag] or flag == "sentence-avg"  # taken from --sentence-avg itself
        elif default != "auto":
            assert default == str(flags[flag])


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_table_says_what_help_says(option):
    default = "auto" if option.default is None else option.default
    assert f"| `{option.flag}` | {default} | {option.help} |\n" in README


def test_the_list_of_patches_is_the_table_of_compat():
    (listed,) = re.findall(r"\| Replaced \|.*?\n\n", README, re.DOTALL)
    rows = [f"| `{patch.target}` | {patch.versions} | {patch.effect} |" for patch in PATCHES]
    assert listed.strip().split("\n")[2:] == rows


def test_the_changed_command_is_understood_by_fairseq_train():
    from fairseq import options

    (change,) = code_blocks("diff")
    added = " ".join(line[1:].rstrip("\\ ") for line in change.split("\n") if line.startswith("+"))
    added = added.replace('"$(python -m rdrop_fairseq)"', str(REPOSITORY / "rdrop_fairseq"))
    arguments = options.parse_args_and_arch(
        options.get_training_parser(),
        ["data-bin", "--arch=transformer_iwslt_de_en", *added.split()],
    )
    assert arguments.criterion == "rdrop_label_smoothed_cross_entropy"
    assert (arguments.reg_alpha, arguments.label_smoothing) == (5.0, 0.1)


@pytest.mark.parametrize("path", re.findall(r"\]\(((?!http|#)[^)]+)\)", README))
def test_every_link_into_the_project_leads_somewhere(path):
    assert (REPOSITORY / path.split("#")[0]).exists()
