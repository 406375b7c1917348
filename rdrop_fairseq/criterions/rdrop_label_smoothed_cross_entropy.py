"""R-Drop on top of fairseq's ``label_smoothed_cross_entropy``."""

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterionConfig,
)

from rdrop_fairseq.criterions.label_smoothed import LabelSmoothedViewsCriterion
from rdrop_fairseq.losses.interface import rdrop_weights
from rdrop_fairseq.options import RDROP, config_class
from rdrop_fairseq.views.rates import choose_views

RDropLabelSmoothedCrossEntropyCriterionConfig = config_class(
    "RDropLabelSmoothedCrossEntropyCriterionConfig", LabelSmoothedCrossEntropyCriterionConfig, RDROP
)


@register_criterion(
    "rdrop_label_smoothed_cross_entropy", dataclass=RDropLabelSmoothedCrossEntropyCriterionConfig
)
class RDropLabelSmoothedCrossEntropyCriterion(LabelSmoothedViewsCriterion):
    """Label-smoothed cross-entropy of the dropout passes plus ``alpha`` times their symmetric KL.

    Liang et al., NeurIPS 2021, eq. 4.

    Raises:
        ValueError: an option out of range, or a second dropout rate with more than two passes.
    """

    options = RDROP

    def __init__(self, cfg, task):
        super().__init__(cfg, task)
        self.weights = rdrop_weights(cfg.rdrop_views)
        self.views = choose_views(cfg)
