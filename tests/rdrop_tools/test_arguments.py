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


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "two", "²"])
def test_less_than_one_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="whole number from 1 on"):
        at_least_one(text)
    assert at_least_one("12") == 12
