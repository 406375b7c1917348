"""What several programs accept on their command lines."""

import argparse
from pathlib import Path

import pytest

from rdrop_tools.arguments import at_least_one, named_path


@pytest.mark.parametrize("text, named", [("a=b/c", "a"), ("a=b=c", "a"), ("b/c", "b/c")])
def test_a_file_may_have_a_name(text, named):
    name, path = named_path(text)
    assert name == named
    assert path == Path(text.removeprefix("a="))


def test_a_file_that_exists_as_given_is_not_a_name_and_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("beam=5.log").touch()
    assert named_path("beam=5.log") == ("beam=5.log", Path("beam=5.log"))
    assert named_path("R-Drop=beam=5.log") == ("R-Drop", Path("beam=5.log"))
    assert named_path("lr=7/beam=5.log") == ("lr", Path("7/beam=5.log"))


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "two", "²"])
def test_less_than_one_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="whole number from 1 on"):
        at_least_one(text)
    assert at_least_one("12") == 12
