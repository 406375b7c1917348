"""R-Drop on top of fairseq's ``label_smoothed_cross_entropy``."""

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)

from rdrop_fairseq.criterions.base import RDropCriterion
from rdrop_fairseq.options import LABEL_SMOOTHING, RDROP, config_class

RDropLabelSmoothedCrossEntropyCriterionConfig = config_class(
    "RDropLabelSmoothedCrossEntropyCriterionConfig", LabelSmoothedCrossEntropyCriterionConfig, RDROP
)


@register_criterion(
    "rdrop_label_smoothed_cross_entropy", dataclass=RDropLabelSmoothedCrossEntropyCriterionConfig
)
class RDropLabelSmoothedCrossEntropyCriterion(RDropCriterion, LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy of two dropout passes plus ``alpha`` times their symmetric KL.

    Liang et al., NeurIPS 2021, eq. 4.

    Raises:
        ValueError: an option out of range.
    """

    @classmethod
    def add_args(cls, parser):
        """Add the options; one that is out of range ends the program in a sentence."""
        for option in (*RDROP, LABEL_SMOOTHING):
            option.add_to(parser)
        super().add_args(parser)  # which adds those that are not there yet

    def __init__(self, cfg, task):
        for option in (*RDROP, LABEL_SMOOTHING):
            option.check(getattr(cfg, option.name))
        super().__init__(
            task,
            cfg.sentence_avg,
            cfg.label_smoothing,
            cfg.ignore_prefix_size,
            cfg.report_accuracy,
        )
        self.reg_alpha = cfg.reg_alpha
        self.rdrop_loss = str(cfg.rdrop_loss)
        self.rdrop_chunk_size = cfg.rdrop_chunk_size

    def loss_of_views(self, head, output, target, reduce=True):
        """R-Drop of the target tokens behind the prefix; with ``reduce=False`` ``(B * T,)``."""
        start = self.ignore_prefix_size
        return head.loss(
            output[:, :, start:].flatten(1, 2),
            target[:, start:].flatten(),
            self.reg_alpha,
            self.eps,
            self.padding_idx,
            reduce,
        )
