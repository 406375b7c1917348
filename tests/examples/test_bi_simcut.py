"""Both directions at once, then one of them from there: each step as its commands do it."""

import gzip
import random
import re
import shutil

import pytest
import torch
from fairseq.data import Dictionary, data_utils
from helpers.benchmarks import SMALL_MODEL, Scripts
from helpers.trained import trained

WORDS = {"en": ("a", "house", "the", "dog", "runs"), "de": ("ein", "haus", "der", "hund", "rennt")}
PREPARATION = ("--orig", "orig", "--bpe-size", "40", "--workers", "1")
BOTH = "bidirectional-simcut-alpha0.5-seed1"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The scripts after prepare.sh --bidirectional on a toy corpus, and what it printed."""
    folder = tmp_path_factory.mktemp("bidirectional")
    (folder / "orig").mkdir()
    chance = random.Random(0)
    for name, count in {"train": 200, "val": 10, "test_2016_flickr": 10}.items():
        numbers = [chance.choices(range(5), k=chance.randint(2, 8)) for _ in range(count)]
        for language, words in WORDS.items():
            text = "".join(" ".join(words[n] for n in line) + "\n" for line in numbers)
            archive = folder / "orig" / f"{name}.{language}.gz"
            archive.write_bytes(gzip.compress(text.encode()))
    scripts = Scripts(folder)
    return scripts, succeed(scripts, "prepare.sh", *PREPARATION, "--bidirectional")


def succeed(scripts, script, *words):
    status, printed = scripts.run(script, *words)
    assert status == 0, printed
    return printed


def sentences(folder, split, language):
    """Return what fairseq reads of a set, as lines of subwords."""
    dictionary = Dictionary.load(str(folder / f"dict.{language}.txt"))
    dataset = data_utils.load_indexed_dataset(str(folder / f"{split}.en-de.{language}"), dictionary)
    return [dictionary.string(dataset[number]) for number in range(len(dataset))]


def test_each_side_has_the_text_of_both_languages(prepared):
    scripts, _ = prepared
    both, one = scripts.out / "binarized-bidirectional", scripts.out / "binarized"
    for split in ("train", "valid"):
        english, german = (sentences(one, split, language) for language in ("en", "de"))
        assert sentences(both, split, "en") == english + german
        assert sentences(both, split, "de") == german + english
    dictionaries = {(one / "dict.en.txt").read_bytes()}
    dictionaries |= {file.read_bytes() for file in both.glob("dict.*.txt")}
    assert len(dictionaries) == 1 and not list(scripts.out.glob("*.tmp"))


def test_it_is_made_later_too_and_again_with_a_new_dictionary(prepared, tmp_path):
    scripts = Scripts(tmp_path)
    shutil.copytree(prepared[0].out, scripts.out)
    (tmp_path / "orig").symlink_to(prepared[0].folder / "orig")
    printed = succeed(scripts, "prepare.sh", *PREPARATION, "--bidirectional")
    assert printed.count("already there") == 4
    shutil.rmtree(scripts.out / "binarized")
    assert succeed(scripts, "prepare.sh", *PREPARATION).count("already there") == 2
    assert not (scripts.out / "binarized-bidirectional").exists()
    succeed(scripts, "prepare.sh", *PREPARATION, "--bidirectional")
    assert (scripts.out / "binarized-bidirectional" / "train.en-de.en.bin").exists()


def checkpoint(run, name):
    return torch.load(run / f"checkpoint_{name}.pt", weights_only=False)


def updates(run):
    return [int(n) for n in re.findall(r'"num_updates": "(\d+)"', (run / "train.log").read_text())]


def test_one_direction_starts_with_the_parameters_of_both(prepared):
    scripts, _ = prepared
    tiny = ("--cpu", "--simcut")
    six = ("--bidirectional", "--max-updates", "6", "--", *SMALL_MODEL, "--warmup-updates", "1")
    succeed(scripts, "train.sh", *tiny, *six)
    both = scripts.out / BOTH
    assert "simcut_label_smoothed" in (both / "train.log").read_text()

    # an update with a learning rate of 0 changes no parameter
    still = (*tiny, "--from", BOTH, "--name", "still")
    still_model = (*SMALL_MODEL, "--lr", "0", "--clip-norm", "0")
    succeed(scripts, "train.sh", *still, "--max-updates", "1", "--", *still_model)
    first, begun = checkpoint(both, "best"), checkpoint(scripts.out / "still", "last")
    assert first["model"].keys() == begun["model"].keys()
    for name, value in trained(first["model"]).items():
        assert torch.equal(value, begun["model"][name]), name
    # and nothing else came along
    assert updates(both)[-1] == 6 and updates(scripts.out / "still") == [1]
    state = begun["last_optimizer_state"]["state"]
    assert {int(moments["step"]) for moments in state.values()} == {1}
    assert begun["extra_state"]["train_iterator"]["epoch"] == 1

    # its own checkpoint is continued, even where the other run is gone
    (both / "checkpoint_best.pt").unlink()
    succeed(scripts, "train.sh", *still, "--max-updates", "3", "--", *still_model)
    assert updates(scripts.out / "still") == [1, 2, 3]
    printed = succeed(scripts, "evaluate.sh", "--cpu", "--beam", "1", "still")
    assert "==> en-de test, still, best checkpoint" in printed
