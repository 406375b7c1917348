"""R-Drop (Liang et al., NeurIPS 2021) for fairseq.

With this package imported, fairseq gets its criteria and the patches for today's PyTorch: at once,
or as soon as fairseq is imported. ``rdrop_fairseq.losses`` serves plain PyTorch, without fairseq.
"""

from rdrop_fairseq.registration import register_with_fairseq

register_with_fairseq()
