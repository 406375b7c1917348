"""The criteria that the plugin registers with fairseq."""

from rdrop_fairseq.criterions import (  # noqa: F401
    addrop_label_smoothed_cross_entropy,
    addrop_sentence_prediction,
    rdrop_adaptive_loss,
    rdrop_label_smoothed_cross_entropy,
    rdrop_sentence_prediction,
    simcut_label_smoothed_cross_entropy,
)
