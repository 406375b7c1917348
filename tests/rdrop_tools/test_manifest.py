"""The commit that a result was made with."""

import shutil

import pytest
from helpers.launch import run

from rdrop_tools import manifest


@pytest.fixture
def checkout(tmp_path):
    """A program's text in a repository of its own, and its first commit."""
    text = shutil.copy(manifest.__file__, tmp_path)
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


def test_outside_of_a_checkout_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "__file__", str(tmp_path / "manifest.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert manifest.commit() == ""
