"""AD-DROP on top of fairseq's ``label_smoothed_cross_entropy``."""

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)

from rdrop_fairseq.criterions.addrop import ADDropCriterion
from rdrop_fairseq.criterions.scores import token_scores
from rdrop_fairseq.option import config_class
from rdrop_fairseq.options import ADDROP, LABEL_SMOOTHING

ADDropLabelSmoothedCrossEntropyCriterionConfig = config_class(
    "ADDropLabelSmoothedCrossEntropyCriterionConfig",
    LabelSmoothedCrossEntropyCriterionConfig,
    ADDROP,
)


@register_criterion(
    "addrop_label_smoothed_cross_entropy", dataclass=ADDropLabelSmoothedCrossEntropyCriterionConfig
)
class ADDropLabelSmoothedCrossEntropyCriterion(ADDropCriterion, LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy of a pass with attributed attention positions dropped.

    For translation and language modelling. A pseudo-label for each target token: the attribution
    is that of the sum of the log-probabilities of the most probable tokens.
    """

    options = (*ADDROP, LABEL_SMOOTHING)
    scores = token_scores

    def __init__(self, cfg, task):
        super().__init__(
            task, cfg.sentence_avg, cfg.label_smoothing, cfg.ignore_prefix_size, cfg.report_accuracy
        )
        self.set_up(cfg)
