"""R-Drop on top of fairseq's ``label_smoothed_cross_entropy``."""

from functools import partial

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterionConfig,
)

from rdrop_fairseq.criterions.label_smoothed import LabelSmoothedViewsCriterion
from rdrop_fairseq.criterions.scores import token_scores
from rdrop_fairseq.losses.interface import rdrop_weights
from rdrop_fairseq.option import config_class
from rdrop_fairseq.options import LABEL_SMOOTHING, RDROP
from rdrop_fairseq.views.choice import choose_views

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
        ValueError: an option out of range, or ``--rdrop-second-dropout`` or ``--rdrop-second-view
            addrop`` with more than two views.
    """

    options = (*RDROP, LABEL_SMOOTHING)

    def __init__(self, cfg, task):
        super().__init__(cfg, task)
        self.weights = rdrop_weights(cfg.rdrop_views)
        self.views = choose_views(cfg, partial(token_scores, self))
