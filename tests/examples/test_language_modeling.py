"""examples/language_modeling: Wikitext-103 in its real layout, and what is given to fairseq."""

import re

import pytest
from helpers.tasks import Task

NAMES = ["interface_text", "interface_text_adaptive", "wikitext103", "wikitext103_adaptive"]
TINY = (
    *("--max-tokens", "128", "--tokens-per-sample", "32", "--num-workers", "0"),
    *("--decoder-layers", "1", "--decoder-embed-dim", "16", "--decoder-ffn-embed-dim", "16"),
    *("--decoder-attention-heads", "2", "--decoder-input-dim", "16", "--decoder-output-dim", "16"),
    *("--adaptive-input-cutoff", "10,20", "--adaptive-input-factor", "2"),
    *("--adaptive-softmax-cutoff", "10,20", "--adaptive-softmax-factor", "2", "--lr", "0.1"),
    *("--warmup-updates", "0", "--min-lr", "0.01"),
)


@pytest.fixture
def task(tmp_path):
    return Task("language_modeling", tmp_path)


@pytest.fixture
def wikitext(tmp_path):
    """The published files, of a few words."""
    folder = tmp_path / "orig"
    folder.mkdir()
    for split in ("train", "valid", "test"):
        lines = [" ".join(f"w{(n * k) % 40}" for k in range(1, 12)) for n in range(30)]
        (folder / f"wiki.{split}.tokens").write_text("".join(f" {line} \n" for line in lines))
    return folder


@pytest.mark.parametrize("program", ["prepare.sh", "train.sh", "evaluate.sh"])
def test_help_names_the_benchmarks(task, program):
    status, printed = task.run(program, "interface_text", "--help")
    assert status == 0
    assert f"Usage: bash examples/language_modeling/{program} interface_text" in printed
    assert ", ".join(NAMES) in printed


@pytest.mark.parametrize("orig", [(), ("--orig", "nowhere")])
@pytest.mark.parametrize("name", ["wikitext103", "wikitext103_adaptive"])
def test_wikitext_without_its_files_is_refused_in_a_sentence(task, name, orig):
    status, said = task.run("prepare.sh", name, *orig)
    assert status == 1
    place = "/".join([*orig[1:], "wiki.train.tokens"]) if orig else "DIR/wiki.train.tokens"
    assert said == (
        f"prepare.sh: there is no {place}: give --orig the folder with the published files "
        "wiki.train.tokens wiki.valid.tokens wiki.test.tokens (wikitext-103-v1.zip)\n"
    )


def test_wikitext_from_its_files_to_a_perplexity(task, wikitext):
    name = "wikitext103_adaptive"
    status, said = task.run("prepare.sh", name, "--orig", str(wikitext))
    assert status == 0, said
    again = task.run("prepare.sh", name)[1]
    assert "==> already there" in again and "==> prepared" in again
    words = (name, "--cpu", "--max-updates", "2", "--name", "tiny")
    status, said = task.run("train.sh", *words, "--", *TINY)
    assert status == 0, said
    status, said = task.run("evaluate.sh", name, "tiny", "--cpu")
    assert status == 0, said
    perplexity = float(re.search(r"^perplexity ([\d.]+)$", said, re.M)[1])
    assert 1 < perplexity < 1000
    assert (task.out / "tiny" / "test.scores").read_text() == f"perplexity {perplexity:.2f}\n"


@pytest.mark.parametrize(
    ("name", "criterion"),
    [
        ("wikitext103", "label_smoothed_cross_entropy"),
        ("interface_text_adaptive", "adaptive_loss"),
    ],
)
def test_the_baseline_differs_in_the_criterion_alone(task, name, criterion):
    rdrop = task.noted_training(name, "--cpu", "--name", "rdrop")
    baseline = task.noted_training(name, "--cpu", "--name", "baseline", "--baseline")
    place = rdrop.index("--reg-alpha")
    assert rdrop[place : place + 2] == ["--reg-alpha", "1"]
    del rdrop[place : place + 2]
    assert f"rdrop_{criterion}" in rdrop
    assert [word.replace("rdrop_", "").replace("/rdrop", "/baseline") for word in rdrop] == [
        word.replace("rdrop_", "") for word in baseline
    ]


def test_an_update_of_wikitext_is_that_of_the_authors_eight_gpus(task):
    given = task.noted_training("wikitext103", "--cpu")
    assert given[given.index("--update-freq") + 1] == str(8 * 16)
