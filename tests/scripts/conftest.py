"""Lets the tests import the programs in scripts/, as they import each other when run."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))
