"""The count of tests on the real text, in a checkout of two tests of which one needs that text."""

import shutil

import pytest
from helpers.constants import REPOSITORY
from helpers.launch import run

TESTS = """
def test_of_real_text(shared_data):
    assert (shared_data / "text").exists()

def test_of_something_else():
    pass
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout, without the folder of real text next to it."""
    folder = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "tests" / "helpers", folder / "tests" / "helpers", ignore=ignored)
    shutil.copy(REPOSITORY / "pyproject.toml", folder)
    (folder / "tests" / "conftest.py").write_text('pytest_plugins = ["helpers.shared_data"]\n')
    (folder / "tests" / "test_both.py").write_text(TESTS)
    return folder


def run_pytest(checkout, *options):
    words = ("-m", "pytest", "-p", "no:cacheprovider", *options)
    return run("python", *words, cwd=checkout, check=False)


def test_without_the_text_the_run_is_green_and_says_what_was_skipped(checkout):
    finished = run_pytest(checkout)
    assert finished.returncode == 0
    folder = checkout.parent / "shared" / "data"
    assert f"needs the real text in {folder}, which is not there" in finished.stdout
    assert "shared data: 0 tests ran on it, 1 skipped" in finished.stdout
    assert "1 passed, 1 skipped" in finished.stdout


@pytest.mark.parametrize("options", [(), ("-k", "something_else")], ids=["skipped", "not chosen"])
def test_a_run_that_requires_the_text_fails_when_no_test_ran_on_it(checkout, options):
    finished = run_pytest(checkout, "--require-shared-data", *options)
    assert finished.returncode == 1
    assert "--require-shared-data: every one of them has to run" in finished.stdout


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one process", "workers"])
def test_with_the_text_its_tests_run(checkout, workers):
    folder = checkout.parent / "shared" / "data"
    folder.mkdir(parents=True)
    (folder / "text").touch()
    finished = run_pytest(checkout, "--require-shared-data", *workers)
    assert finished.returncode == 0, finished.stdout
    assert "shared data: 1 tests ran on it, 0 skipped" in finished.stdout
