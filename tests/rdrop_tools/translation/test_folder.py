"""A folder that lacks something, or in which something is damaged, is refused in a sentence."""

import json
import shutil

import pytest
import torch
from helpers.hostile import RunsACommand, needs_checked_types

from rdrop_tools.translation.engines import Search, load_engine
from rdrop_tools.translation.folder import TranslationError, find_model
from rdrop_tools.translation.preparation import Preparation
from rdrop_tools.translation.program import main


def refused(folder, *options):
    """Return why a folder is not translated with."""
    with pytest.raises(TranslationError) as error:
        load_engine(find_model(folder, *options), Search(), cpu=True)
    assert "\n" not in str(error.value)
    return str(error.value)


def cut_short(path, share=0.9):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def test_no_folder(tmp_path):
    assert "there is no folder" in refused(tmp_path / "nowhere")
    with pytest.raises(SystemExit, match=r"translate|pytest|__main__"):
        main([str(tmp_path / "nowhere"), "word"])


def test_not_the_folder_of_a_training(tmp_path):
    assert "is not the folder of a training" in refused(tmp_path)


def test_a_training_without_a_checkpoint(raw_run, copied, tmp_path):
    run = copied(raw_run, tmp_path / "copy")
    assert refused(run, "checkpoint_bset.pt") == (
        f"{run} has no file checkpoint_bset.pt: "
        "give --checkpoint the name of one of its checkpoints."
    )
    (run / "model.pt").unlink()
    assert "has the training come to its first validation?" in refused(run)


@pytest.mark.parametrize("name", ["run/model.pt", "subwords/spm.model", "subwords/manifest.json"])
@pytest.mark.parametrize("share", [0, 0.5, 0.9])
def test_a_truncated_file_of_a_run(name, share, raw_run, copied, tmp_path):
    run = copied(raw_run, tmp_path / "copy")
    cut_short(run.parent / name, share)
    assert name.rpartition("/")[2] in refused(run)


def test_dictionaries_that_lack_words(raw_run, copied, tmp_path):
    run = copied(raw_run, tmp_path / "copy")
    cut_short(run.parent / "binarized" / "dict.de.txt", 0.5)
    assert "do not make a translation model" in refused(run)


@needs_checked_types
def test_a_hostile_checkpoint(raw_run, copied, tmp_path):
    run = copied(raw_run, tmp_path / "copy")
    torch.save({"args": None, "cfg": RunsACommand(tmp_path / "ran"), "model": {}}, run / "model.pt")
    assert "it asks for posix.system" in refused(run)
    assert not (tmp_path / "ran").exists()


def test_a_gpu_that_is_full(raw_run, monkeypatch):
    def fail(network):
        raise RuntimeError("CUDA out of memory.\nMore of it")

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.nn.Module.cuda", fail)
    with pytest.raises(
        TranslationError, match=r"model.pt was not put on the GPU \(CUDA out of .*: g"
    ):
        load_engine(find_model(raw_run), Search())


def test_a_manifest_that_lacks_the_settings_is_named(tokenized_run, copied, tmp_path):
    run = copied(tokenized_run, tmp_path / "copy")
    path = run.parent / "subwords" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "corpus": {}}))
    with pytest.raises(TranslationError, match="subwords/manifest.json does not say how the text"):
        Preparation(find_model(run), "de", "en")


def test_a_truncated_file_of_an_exported_folder(exported, tmp_path):
    names = [path.name for path in exported["raw"].iterdir() if path.name != "README.md"]
    assert {"model.bin", "spm.model", "shared_vocabulary.json"} <= {*names}
    for name in names:
        folder = tmp_path / name
        shutil.copytree(exported["raw"], folder)
        cut_short(folder / name)
        assert name in refused(folder)
        (folder / name).unlink()
        refused(folder)


@pytest.mark.parametrize("stage", [None, [], {}, {"source": "de", "target": "en"}])
def test_an_exported_folder_with_another_manifest(stage, tmp_path):
    subwords = {"settings": {"method": "sentencepiece"}}
    content = {"subwords": subwords, "ctranslate2": stage}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    assert "manifest.json is damaged or of an older version: export" in refused(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("files", files) for files in ([], None, {}, "model.bin", {"model.bin": "0"})),
        *(("model.bin", None), ("spm.model", None), ("longest_source", "x"), ("source", None)),
    ],
)
def test_an_exported_folder_with_a_wrong_value_in_its_manifest(name, value, exported, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(exported["raw"], folder)
    content = json.loads((folder / "manifest.json").read_text())
    stage = content["ctranslate2"]
    (stage["files"] if name in stage["files"] else stage)[name] = value
    (folder / "manifest.json").write_text(json.dumps(content))
    assert "manifest.json is damaged or of an older version: export" in refused(folder)


def test_an_exported_folder_has_no_checkpoints(exported):
    assert "has no checkpoints" in refused(exported["raw"], "checkpoint_best.pt")
