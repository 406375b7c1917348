"""Every way in which fairseq, or Python, may load the plugin."""

import subprocess
import sys

import pytest
from conftest import PLUGIN, REPOSITORY

LOAD = """
from argparse import Namespace
from fairseq import utils
{before}
utils.import_user_module(Namespace(user_dir={user_dir!r}))
from fairseq.criterions import CRITERION_REGISTRY
assert "rdrop_label_smoothed_cross_entropy" in CRITERION_REGISTRY
"""


def load(cwd, user_dir, before=""):
    return subprocess.run(
        [sys.executable, "-c", LOAD.format(before=before, user_dir=str(user_dir))],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def symbolic_link(tmp_path):
    link = tmp_path / "elsewhere" / "rdrop_fairseq"
    link.parent.mkdir()
    link.symlink_to(PLUGIN)
    return link


@pytest.mark.parametrize("user_dir", ["rdrop_fairseq", PLUGIN])
def test_from_a_checkout_relative_or_absolute(user_dir):
    finished = load(REPOSITORY, user_dir)
    assert finished.returncode == 0, finished.stdout


def test_through_a_symbolic_link(tmp_path, symbolic_link):
    finished = load(tmp_path, symbolic_link)
    assert finished.returncode == 0, finished.stdout


@pytest.mark.parametrize("spelling", ["bare name", "path", "link"])
def test_after_the_package_was_imported(tmp_path, symbolic_link, spelling):
    user_dir = {"bare name": "rdrop_fairseq", "path": PLUGIN, "link": symbolic_link}[spelling]
    finished = load(tmp_path, user_dir, before="import rdrop_fairseq")
    assert finished.returncode == 0, finished.stdout


def test_another_package_of_the_same_name_is_still_refused(tmp_path):
    other = tmp_path / "copy" / "rdrop_fairseq"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    finished = load(tmp_path, other, before="import rdrop_fairseq")
    assert finished.returncode != 0
    assert "not globally unique" in finished.stdout


def test_the_module_prints_its_directory_and_nothing_else(tmp_path):
    finished = subprocess.run(
        [sys.executable, "-m", "rdrop_fairseq"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert finished.stdout == f"{PLUGIN}\n"
