"""The commit that a result was made with."""

import shutil
from pathlib import Path

import pytest
from helpers.launch import run

from rdrop_tools import manifest


@pytest.fixture
def checkout(tmp_path):
    """A program's text in a repository of its own, and its first commit."""
    (tmp_path / "rdrop_tools").mkdir()
    text = shutil.copy(manifest.__file__, tmp_path / "rdrop_tools")
    git = ("git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@example.org")
    run(*git, "init", "-q")
    run(*git, "add", ".")
    run(*git, "commit", "-q", "-m", "one")
    run(*git, "tag", "v1")
    return text, run(*git, "rev-parse", "HEAD").stdout.strip()


def test_a_commit_is_named_without_its_tags(checkout, monkeypatch):
    text, commit = checkout
    monkeypatch.setattr(manifest, "__file__", text)
    assert len(manifest.commit()) >= 7
    assert commit.startswith(manifest.commit())


def test_files_that_differ_from_the_commit_are_said(checkout, monkeypatch):
    text, _ = checkout
    monkeypatch.setattr(manifest, "__file__", text)
    clean = manifest.commit()
    with open(text, "a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert manifest.commit() == f"{clean}-dirty"


def test_installed_inside_of_another_checkout_there_is_no_commit(checkout, monkeypatch):
    repository = Path(checkout[0]).parents[1]
    installed = repository / ".venv" / "site-packages" / "rdrop_tools" / "manifest.py"
    installed.parent.mkdir(parents=True)
    monkeypatch.setattr(manifest, "__file__", str(installed))
    assert manifest.commit() == ""
