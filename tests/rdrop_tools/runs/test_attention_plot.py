"""The picture of what AD-DROP drops in one sentence."""

from types import SimpleNamespace

import pytest
import torch
from helpers.constants import TINY_TRANSFORMER, TRAINING, USER_DIR
from helpers.launch import fork

from rdrop_fairseq.options import ATTENTION_DROP
from rdrop_tools.runs import attention as program

DEFAULTS = {option.name: option.default for option in ATTENTION_DROP}


@pytest.fixture(scope="module")
def checkpoint(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    fork(
        *("fairseq-train", corpus.translation, USER_DIR, *TRAINING, *TINY_TRANSFORMER),
        *("--criterion=cross_entropy", f"--save-dir={folder}", "--max-update=1"),
        *("--encoder-layers=2", "--disable-validation"),
    )
    return folder / "checkpoint_last.pt"


def maps_of(checkpoint, corpus, **options):
    given = dict(checkpoint=checkpoint, data=corpus.translation, split="valid", sentence=0, head=1)
    return program.attention_maps(SimpleNamespace(**{**DEFAULTS, **given, "seed": 1, **options}))


@pytest.mark.parametrize("kind", ["encoder", "decoder", "cross"])
def test_the_maps_are_of_the_words_of_the_sentence(checkpoint, corpus, kind):
    queries, keys, maps = maps_of(
        checkpoint, corpus, addrop_attention=kind, addrop_p=0.4, addrop_q=1.0
    )
    source = (corpus.text / "valid.de").read_text().splitlines()
    target = (corpus.text / "valid.en").read_text().splitlines()
    words = keys if kind != "decoder" else queries
    (number,) = (n for n, line in enumerate(source) if line.split() == source[0].split())
    expected = {"encoder": source, "cross": source, "decoder": target}[kind][number].split()
    assert words == ([*expected, "</s>"] if kind != "decoder" else ["</s>", *expected])
    assert len(maps) == (2 if kind == "encoder" else 1)
    for panel in maps:
        assert panel.attention.shape == panel.candidates.shape == (len(queries), len(keys))
        assert (
            torch.equal(panel.dropped.sum(-1) > 0, panel.candidates.sum(-1) > 0)
            or kind == "decoder"
        )
        assert not (panel.dropped & ~panel.candidates).any()
        torch.testing.assert_close(panel.attention.sum(-1), torch.ones(len(queries)))


def test_layers_named_in_another_order_keep_their_numbers(checkpoint, corpus):
    both = maps_of(checkpoint, corpus, addrop_layers="1,0")[2]
    assert [panel.title for panel in both] == ["layer 0, head 1", "layer 1, head 1"]
    (first,) = maps_of(checkpoint, corpus, addrop_layers="0")[2]
    assert torch.equal(both[0].attention, first.attention)


def test_a_picture_from_the_command_line(checkpoint, corpus, tmp_path):
    picture = tmp_path / "attention.png"
    words = [str(checkpoint), str(corpus.translation), f"--out={picture}", "--sentence=2"]
    program.main([*words, "--addrop-layers=1", "--addrop-attribution=integrated"])
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [picture]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--sentence=500", "there is no sentence 500: valid has 21"),
        ("--head=2", "there is no head 2: the model has 2"),
        ("--addrop-layers=7", "--addrop-layers names layer 7"),
    ],
)
def test_what_is_not_there_is_refused_in_a_sentence(checkpoint, corpus, tmp_path, option, message):
    words = [str(checkpoint), str(corpus.translation), f"--out={tmp_path / 'a.png'}", option]
    with pytest.raises(SystemExit, match=message) as error:
        program.main(words)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
