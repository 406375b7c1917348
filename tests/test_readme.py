"""What the README and docs/ tell a user to type, say and expect is so."""

import dataclasses
import math
import re
import shlex
from fnmatch import fnmatchcase

import pytest
import torch
from helpers.constants import RDROP as CRITERION
from helpers.constants import REPOSITORY, TINY_TRANSFORMER
from helpers.launch import run

from rdrop_fairseq.compat.patches import PATCHES
from rdrop_fairseq.criterions.rdrop_label_smoothed_cross_entropy import (
    RDropLabelSmoothedCrossEntropyCriterionConfig,
)
from rdrop_fairseq.options import ADAPTIVE, ADDROP, SENTENCES, SIMCUT
from rdrop_fairseq.options import RDROP as OPTIONS

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DOCS = {path.stem: path.read_text(encoding="utf-8") for path in (REPOSITORY / "docs").glob("*.md")}


def code_blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


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
    tables = "".join(re.findall(r"\| Flag \| Default .*?\n\n", DOCS["options"], re.DOTALL))
    documented = dict(re.findall(r"^\| `--([a-z-]+)` \| ([^|]+) \|", tables, re.MULTILINE))
    fields = dataclasses.fields(RDropLabelSmoothedCrossEntropyCriterionConfig)
    flags = {field.name.replace("_", "-"): field.default for field in fields}
    flags.pop("-name", None)
    assert set(documented) == set(flags)
    for flag, default in documented.items():
        if default == "off":
            assert not flags[flag] or flag == "sentence-avg"  # taken from --sentence-avg itself
        else:
            assert default == ("not set" if flags[flag] is None else str(flags[flag]))


@pytest.mark.parametrize(
    ("criterion", "options"),
    [
        ("rdrop_sentence_prediction", SENTENCES),
        ("rdrop_adaptive_loss", ADAPTIVE),
        ("simcut_label_smoothed_cross_entropy", SIMCUT),
        ("addrop_label_smoothed_cross_entropy", ADDROP),
    ],
)
def test_the_table_of_criteria_has_what_differs_from_rdrop(criterion, options):
    line = re.search(rf"^\| \[?`{criterion}`.*? \|(.*?)\|(.*?)\|$", DOCS["options"], re.MULTILINE)
    rdrop = {option.flag: option.default for option in OPTIONS}
    own = {option.flag: option.default for option in options}
    defaults = dict(re.findall(r"`(--[a-z-]+)` ([\d.]+)", line[1]))
    assert {flag: float(default) for flag, default in defaults.items()} == {
        flag: default for flag, default in own.items() if default != rdrop.get(flag, default)
    }
    lacking, _, added = line[2].partition("; but they have")
    patterns = re.findall(r"`(--[a-z-]+\*?)`", lacking)
    lacks = {flag for flag in rdrop if any(fnmatchcase(flag, pattern) for pattern in patterns)}
    assert lacks == rdrop.keys() - own.keys()
    assert set(re.findall(r"`(--[a-z-]+)`", added)) == own.keys() - rdrop.keys()


def test_the_page_on_addrop_has_commands_for_fairseq_train():
    from fairseq import options

    text = DOCS["addrop"]
    assert all(option.flag.startswith("--addrop") or option.flag in text for option in ADDROP)
    (block,) = (block for block in code_blocks("bash", text) if "fairseq-train" in block)
    block = block.replace('"$(python -m rdrop_fairseq)"', str(REPOSITORY / "rdrop_fairseq"))
    commands = re.split(r"^fairseq-train \.\.\. ", block.replace("\\\n", " "), flags=re.MULTILINE)
    parsed = []
    for command, arch in zip(commands[1:], ["transformer", "transformer_lm", "roberta_base"]):
        words = ["data-bin", f"--arch={arch}", *shlex.split(command, comments=True)]
        parsed.append(options.parse_args_and_arch(options.get_training_parser(), words))
    assert [(one.task, one.addrop_attention) for one in parsed] == [
        ("translation", "encoder"),
        ("language_modeling", "decoder"),
        ("sentence_prediction", "encoder"),
    ]


def test_the_example_of_addrop_without_fairseq_runs():
    (example,) = code_blocks("python", DOCS["addrop"])
    torch.manual_seed(1)

    table = torch.randn(9, 3, requires_grad=True)

    def model(batch, masks=(None, None)):
        x, attentions = table[batch][:, None], []
        for mask in masks:
            scores = (x @ x.mT).masked_fill(~batch.ne(0)[:, None, None], -math.inf)
            if mask is not None:
                scores = scores.masked_fill(~mask, -math.inf)
            attentions.append(scores.softmax(-1))
            x = attentions[-1] @ x
        return x[:, 0].mean(1), attentions

    batch = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 0, 0]])
    names = {"model": model, "batch": batch, "padding": 0, "labels": torch.tensor([0, 2])}
    names["torch"] = torch
    exec(example, names)
    assert [mask.shape for mask in names["masks"]] == [(2, 1, 5, 5)] * 2
    assert not names["masks"][0].all()
    names["loss"].backward()
    assert table.grad.isfinite().all() and table.grad.any()


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_the_table_says_what_help_says(option):
    default = "not set" if option.default is None else option.default
    cell = option.help.replace("|", r"\|")  # a bare one would end the cell
    assert f"| `{option.flag}` | {default} | {cell} |\n" in DOCS["options"]


(ON_A_CPU,) = re.findall(r"\(on a CPU: (.*?)[;)]", README, re.DOTALL)


@pytest.mark.parametrize("flags", re.findall(r"`(.*?)`", ON_A_CPU))
def test_a_precision_that_is_listed_for_a_cpu_is_half_there(trainer, flags):
    one, sample = trainer(*TINY_TRANSFORMER, *CRITERION, *flags.split(), "--rdrop-loss=reference")
    types = set()
    one.model.register_forward_hook(lambda model, inputs, output: types.add(output[0].dtype))
    one.train_step([sample])
    assert types == {torch.float16}


def test_the_user_dir_of_ones_own_registers_both(tmp_path):
    """The README's example, given to a program of fairseq."""
    (example,) = (block for block in code_blocks("python") if "register_criterion" in block)
    own = tmp_path / "own"
    own.mkdir()
    (own / "__init__.py").write_text(example)
    (name,) = re.findall(r'@register_criterion\("(\w+)"\)', example)
    said = run("fairseq-train", f"--user-dir={own}", "--help").stdout
    choices = re.search(r"--criterion \{(.*?)\}", said)[1].split(",")
    assert {"rdrop_label_smoothed_cross_entropy", name} <= set(choices)


def test_the_list_of_patches_is_the_table_of_compat():
    (listed,) = re.findall(r"\| Replaced \|.*", DOCS["patches"], re.DOTALL)
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
    assert (arguments.reg_alpha, arguments.label_smoothing) == (1.0, 0.1)


def links():
    """(page, path of the link, its heading) of every link from a page into the project."""
    pages = [*REPOSITORY.glob("*.md")]
    for folder in ("benchmarks", "docs", "examples", "scripts"):
        pages += (REPOSITORY / folder).rglob("*.md")
    for page in sorted(pages):
        for link in re.findall(r"\]\((?!http)([^)]*)\)", page.read_text(encoding="utf-8")):
            path, _, heading = link.partition("#")
            yield str(page.relative_to(REPOSITORY)), path, heading


def anchors(page):
    """Of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page, path, heading", links())
def test_every_link_into_the_project_leads_somewhere(page, path, heading):
    source = REPOSITORY / page
    target = source.parent / path if path else source
    assert target.exists()
    assert not heading or heading in anchors(target)
