"""R-Drop (Liang et al., NeurIPS 2021) for fairseq.

Importing the package registers the criteria and patches fairseq for today's PyTorch. Where fairseq
is not installed, ``rdrop_fairseq.losses`` still serves plain PyTorch.
"""

from importlib.util import find_spec

if find_spec("fairseq") is not None:
    from rdrop_fairseq import criterions  # noqa: F401
    from rdrop_fairseq.compat.checkpoints import allow_checkpoint_types
    from rdrop_fairseq.compat.patches import apply_patches

    allow_checkpoint_types()
    apply_patches()
