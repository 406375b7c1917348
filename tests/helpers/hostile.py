"""A checkpoint that runs a command when it is loaded without care."""

import os

import pytest

from rdrop_fairseq.compat.checkpoints import CHECKS_TYPES

needs_checked_types = pytest.mark.skipif(
    not CHECKS_TYPES, reason="PyTorch before 2.6 loads checkpoints without checking their types"
)


class RunsACommand:
    """Makes the file ``marker`` when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)
