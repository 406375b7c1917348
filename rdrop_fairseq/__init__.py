"""R-Drop (Liang et al., NeurIPS 2021) for fairseq.

Importing the package mends fairseq for today's PyTorch and registers the criteria. Where fairseq is
not installed, ``rdrop_fairseq.losses`` still serves plain PyTorch.
"""

from importlib.util import find_spec

if find_spec("fairseq") is not None:
    from rdrop_fairseq import criterions  # noqa: F401
    from rdrop_fairseq.compat import mend_fairseq

    mend_fairseq()
