"""The criteria that the plugin registers with fairseq."""

from rdrop_fairseq.criterions import (  # noqa: F401
    rdrop_adaptive_loss,
    rdrop_label_smoothed_cross_entropy,
    simcut_label_smoothed_cross_entropy,
)
