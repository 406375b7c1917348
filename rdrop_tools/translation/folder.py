"""What a model needs to translate, found in the folder of its training or of its export."""

from pathlib import Path
from typing import NamedTuple, Optional

from rdrop_tools import manifest
from rdrop_tools.checksums import checksum
from rdrop_tools.corpus.bpe import MODEL_FILES

CHECKPOINTS = ("model.pt", "checkpoint_best.pt")  # of the quickstart, of train.sh
# What export.py notes in the manifest, with its type.
STAGE = {"source": str, "target": str, "longest_source": int, "longest_target": int, "files": dict}


class TranslationError(Exception):
    """Why there is no translation, in a sentence for the user."""


def first_line(error):
    """Return the first line of an error's message, which says what is wrong."""
    return str(error).partition("\n")[0]


class ModelFiles(NamedTuple):
    """A trained model on disk, before anything of it is loaded."""

    engine: str  # fairseq or ctranslate2
    path: Path  # its checkpoint, or the folder of the exported model
    data: Optional[Path]  # the folder of fairseq's dictionaries; None for an exported model
    manifest: dict  # how its text was prepared
    method: str  # of the subwords
    subword_model: Path  # its file, which the manifest lies next to


def find_model(folder, checkpoint=None):
    """Return the :class:`ModelFiles` of a run of train.sh or the quickstart, or of an export.

    Args:
        checkpoint: the name of a file of the run; without it, the best one.

    Raises:
        TranslationError: there is none, or a part of it is missing or damaged.
    """
    if not folder.is_dir():
        raise TranslationError(f"there is no folder {folder}: name the folder of a training.")
    content = _read_manifest(folder)
    if "ctranslate2" in content:
        return _exported(folder, content, checkpoint)
    prepared = folder.resolve().parent
    subwords, data = prepared / "subwords", prepared / "binarized"
    content = _read_manifest(subwords)
    if "subwords" not in content or not data.is_dir():
        raise TranslationError(
            f"{folder} is not the folder of a training or of an exported model: next to a "
            "training there are subwords/manifest.json and binarized."
        )
    path = _checkpoint(folder, checkpoint)
    method, subword_model = _subwords(content, subwords)
    _refuse_damaged(subword_model, content["subwords"].get("model"))
    return ModelFiles("fairseq", path, data, content, method, subword_model)


def _exported(folder, content, checkpoint):
    if checkpoint:
        raise TranslationError(f"{folder} is an exported model, which has no checkpoints.")
    method, subword_model = _subwords(content, folder)
    stage = content["ctranslate2"]
    if not _is_whole(stage, ("model.bin", subword_model.name)):
        raise TranslationError(
            f"{folder / manifest.NAME} is damaged or of an older version: export the model again."
        )
    for name, digest in stage["files"].items():
        _refuse_damaged(folder / Path(name).name, digest)
    return ModelFiles("ctranslate2", folder, None, content, method, subword_model)


def _is_whole(stage, needed):
    """Whether a manifest has what export.py notes, with the checksums of the needed files."""
    if not isinstance(stage, dict):
        return False
    is_noted = all(isinstance(stage.get(name), kind) for name, kind in STAGE.items())
    return is_noted and all(isinstance(stage["files"].get(name), str) for name in needed)


def _checkpoint(folder, name):
    for path in (folder / name for name in ([name] if name else CHECKPOINTS)):
        if path.is_file():
            return path
    if name:
        raise TranslationError(
            f"{folder} has no file {name}: give --checkpoint the name of one of its checkpoints."
        )
    raise TranslationError(f"there is no {path}: has the training come to its first validation?")


def _read_manifest(folder):
    try:
        return manifest.read(folder)
    except (ValueError, OSError) as error:
        raise TranslationError(str(error)) from error


def _subwords(content, folder):
    """Return the method and the file of the subword model that a manifest names."""
    try:
        method = content["subwords"]["settings"]["method"]
        return method, folder / MODEL_FILES[method]
    except (KeyError, TypeError) as error:
        raise TranslationError(
            f"{folder / manifest.NAME} does not say how the subwords were made: make it again."
        ) from error


def _refuse_damaged(path, digest):
    if not path.is_file():
        raise TranslationError(f"{path} is missing: copy the folder again, or make it again.")
    if digest and checksum(path) != digest:
        raise TranslationError(
            f"{path} is damaged or was changed (its checksum is not that in the manifest): "
            "copy the folder again, or make it again."
        )
