"""SimCut on top of fairseq's ``label_smoothed_cross_entropy``."""

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterionConfig,
)

from rdrop_fairseq.criterions.label_smoothed import LabelSmoothedViewsCriterion
from rdrop_fairseq.losses.interface import SIMCUT_WEIGHTS
from rdrop_fairseq.option import config_class
from rdrop_fairseq.options import LABEL_SMOOTHING, SIMCUT
from rdrop_fairseq.views.repeat import RepeatedViews

SimCutLabelSmoothedCrossEntropyCriterionConfig = config_class(
    "SimCutLabelSmoothedCrossEntropyCriterionConfig",
    LabelSmoothedCrossEntropyCriterionConfig,
    SIMCUT,
)


@register_criterion(
    "simcut_label_smoothed_cross_entropy", dataclass=SimCutLabelSmoothedCrossEntropyCriterionConfig
)
class SimCutLabelSmoothedCrossEntropyCriterion(LabelSmoothedViewsCriterion):
    """Label-smoothed cross-entropy of one pass plus ``alpha`` KL(p || q), q with token cutoff.

    Gao et al., NAACL 2022 (arXiv 2206.00296). The gradient goes through both distributions.

    Raises:
        ValueError: an option out of range.
    """

    options = (*SIMCUT, LABEL_SMOOTHING)
    weights = SIMCUT_WEIGHTS

    def __init__(self, cfg, task):
        super().__init__(cfg, task)
        self.views = RepeatedViews(2, cfg.view_cutoff)
