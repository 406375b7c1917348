"""The criteria that the plugin registers with fairseq."""

from rdrop_fairseq.criterions import rdrop_label_smoothed_cross_entropy  # noqa: F401
