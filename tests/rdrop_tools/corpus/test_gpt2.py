"""CNN/DailyMail in the subwords of GPT-2, with a vocabulary of a few of them."""

import json

import pytest
from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

from rdrop_tools.corpus import gpt2 as program


@pytest.fixture
def published(tmp_path):
    """The published files: 256 bytes and one merge, and one pair a set."""
    folder = tmp_path / "orig"
    folder.mkdir()
    symbols = [*bytes_to_unicode().values(), "ab"]
    (folder / "encoder.json").write_text(json.dumps({s: n for n, s in enumerate(symbols)}))
    (folder / "vocab.bpe").write_text("#version: 0.2\na b\n")
    for name in ("train", "val", "test"):
        (folder / f"{name}.source").write_text(f"abc {name}\n")
        (folder / f"{name}.target").write_text("ab\n")
    return folder


def run(published, out):
    program.main(["--orig", str(published), "--out", str(out), "--workers", "1"])


def test_sets_are_encoded_and_can_be_decoded(published, tmp_path, capsys):
    out = tmp_path / "subwords"
    run(published, out)
    assert (out / "valid.target").read_text() == "256\n"
    numbers = (out / "valid.source").read_text().split()
    assert numbers[0] == "256"
    assert program.encoder(out).decode([int(n) for n in numbers]) == "abc val"
    assert (out / "tokenized" / "test.source").read_text() == "abc test\n"
    assert not (out / "tokenized" / "train.source").exists()
    assert capsys.readouterr().out == "subwords: train 1, valid 1, test 1\n"


@pytest.mark.parametrize("missing", ["vocab.bpe", "val.target"])
def test_a_missing_file_is_named_and_nothing_is_left(published, tmp_path, missing):
    (published / missing).unlink()
    program.encoder.cache_clear()
    with pytest.raises(SystemExit, match=missing):
        run(published, tmp_path / "subwords")
    assert not (tmp_path / "subwords").exists()
