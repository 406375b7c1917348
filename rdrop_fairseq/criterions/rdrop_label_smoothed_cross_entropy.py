"""R-Drop on top of fairseq's ``label_smoothed_cross_entropy``."""

from functools import partial

from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterionConfig,
)

from rdrop_fairseq.criterions.label_smoothed import LabelSmoothedViewsCriterion, token_scores
from rdrop_fairseq.losses.interface import rdrop_weights
from rdrop_fairseq.options import RDROP, config_class
from rdrop_fairseq.views.attention import AttentionDrop, AttributedViews
from rdrop_fairseq.views.rates import TwoRates
from rdrop_fairseq.views.repeat import RepeatedViews

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
        ValueError: an option out of range, or a second pass of its own among more than two.
    """

    options = RDROP

    def __init__(self, cfg, task):
        super().__init__(cfg, task)
        self.weights = rdrop_weights(cfg.rdrop_views)
        asked = []
        if cfg.rdrop_second_dropout is not None:
            asked.append(TwoRates(cfg.rdrop_second_dropout, cfg.view_cutoff))
        if cfg.rdrop_second_view == "addrop":
            scores = partial(token_scores, self)
            asked.append(AttributedViews(AttentionDrop(cfg), scores, cfg.view_cutoff))
        self.views = asked[0] if asked else RepeatedViews(cfg.rdrop_views, cfg.view_cutoff)
        if asked and cfg.rdrop_views != 2:
            raise ValueError(
                f"{asked[0].option} is for two passes, not for --rdrop-views {cfg.rdrop_views}"
            )
        if len(asked) > 1:
            raise ValueError(
                f"the second pass differs in one way: give {asked[0].option} or {asked[1].option}"
            )
