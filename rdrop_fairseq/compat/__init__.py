"""What fairseq, which is archived, needs on today's Python, PyTorch and NumPy."""

import fairseq  # noqa: F401  (which registers the plugin before a module of this package begins)
