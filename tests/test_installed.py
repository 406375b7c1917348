"""``pip install --no-deps .`` next to a fairseq that is there already, then training elsewhere."""

import shutil

import pytest
from helpers.constants import RDROP, REPOSITORY, TINY_TRANSFORMER, TRAINING
from helpers.launch import run


@pytest.mark.corpus
def test_installed_package_trains_from_another_folder(corpus, tmp_path):
    """The build reads a copy, since setuptools leaves its own folders next to the sources."""
    source, installed, elsewhere = (tmp_path / name for name in ("source", "installed", "work"))
    for name in ("rdrop_fairseq", "rdrop_tools"):
        shutil.copytree(REPOSITORY / name, source / name)
    for name in ("setup.py", "pyproject.toml", "fairseq-versions.txt", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source / name)
    pip = ("python", "-m", "pip", "install", "--quiet", "--no-deps")
    run(*pip, f"--target={installed}", source)
    elsewhere.mkdir()

    anywhere = {"cwd": elsewhere, "environment": {"PYTHONPATH": str(installed)}}
    user_dir = run("python", "-m", "rdrop_fairseq", **anywhere).stdout.split("\n")[-2]
    assert user_dir == str(installed / "rdrop_fairseq")
    arguments = (*TRAINING, *TINY_TRANSFORMER, *RDROP, f"--user-dir={user_dir}", "--max-update=2")
    run("fairseq-train", corpus.translation, *arguments, **anywhere)
    assert (elsewhere / "checkpoints" / "checkpoint_last.pt").exists()
    assert not list(installed.glob("fairseq*"))
