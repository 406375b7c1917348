"""What the tests of the plugin may ask for."""

import pytest
from helpers.constants import RDROP, TINY_TRANSFORMER


@pytest.fixture
def transformer(built, corpus):
    """Build the tiny transformer and R-Drop, or another criterion that the arguments name."""

    def build(*arguments):
        return built(corpus.translation, *TINY_TRANSFORMER, *RDROP, *arguments)

    return build
