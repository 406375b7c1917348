"""COMET scores raw text where its package is installed, and is left out where it is not."""

import sys
from types import SimpleNamespace

import pytest

from rdrop_tools.scoring import comet

SENTENCES = {
    "src": "das haus , &quot; neu &quot;\nja\n",
    "sys": "the house , &quot; new &quot;\nyes\n",
    "ref": "the house , new\nyes .\n",
}


@pytest.fixture
def texts(tmp_path):
    """Options that name a source, a system's output and a reference."""
    for name, text in SENTENCES.items():
        (tmp_path / name).write_text(text)
    return [word for name in SENTENCES for word in (f"--{name}", str(tmp_path / name))]


def test_without_the_package_it_is_left_out(texts, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "comet", None)
    comet.main(texts)
    assert capsys.readouterr().out == "COMET: left out, it needs pip install unbabel-comet\n"


def fail(*arguments, **options):
    raise OSError("no route\nto the hub")


@pytest.mark.parametrize("failing", ["download_model", "load_from_checkpoint"])
def test_without_its_model_it_is_left_out(texts, monkeypatch, capsys, failing):
    works = {"download_model": str, "load_from_checkpoint": str}
    monkeypatch.setitem(sys.modules, "comet", SimpleNamespace(**{**works, failing: fail}))
    comet.main([*texts, "--model", "name"])
    assert capsys.readouterr().out == (
        "COMET: left out, its model name cannot be had (no route to the hub): check the name and "
        "the network, or give the file of a model\n"
    )


def test_a_model_that_cannot_score_is_an_error(texts, monkeypatch):
    package = SimpleNamespace(
        download_model=str, load_from_checkpoint=lambda path: SimpleNamespace(predict=fail)
    )
    monkeypatch.setitem(sys.modules, "comet", package)
    with pytest.raises(SystemExit, match="no route"):
        comet.main([*texts, "--model", "name"])


def test_it_gets_detokenized_sentences(texts, monkeypatch, capsys):
    given = []

    def predict(sentences, batch_size, gpus):
        given.extend(sentences)
        return SimpleNamespace(system_score=0.81234)

    package = SimpleNamespace(
        download_model=lambda name: f"downloaded {name}",
        load_from_checkpoint=lambda path: given.append(path) or SimpleNamespace(predict=predict),
    )
    monkeypatch.setitem(sys.modules, "comet", package)
    comet.main([*texts, "--model", "name", "--detokenize", "de", "en"])
    assert capsys.readouterr().out == "COMET (name) = 0.8123\n"
    assert given == [
        "downloaded name",
        {"src": 'das haus, "neu"', "mt": 'the house, "new"', "ref": "the house, new"},
        {"src": "ja", "mt": "yes", "ref": "yes."},
    ]


def test_texts_that_do_not_belong_together(texts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "comet", SimpleNamespace())
    (tmp_path / "src").write_text("one line\n")
    with pytest.raises(SystemExit, match="do not have equally many lines"):
        comet.main(texts)
