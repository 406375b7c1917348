"""AD-DROP on top of fairseq's ``sentence_prediction``."""

from fairseq.criterions import register_criterion
from fairseq.criterions.sentence_prediction import (
    SentencePredictionConfig,
    SentencePredictionCriterion,
)
from torch import Tensor

from rdrop_fairseq.criterions.addrop import ADDropCriterion
from rdrop_fairseq.options import ADDROP, config_class

ADDropSentencePredictionConfig = config_class(
    "ADDropSentencePredictionConfig", SentencePredictionConfig, ADDROP
)


def sentence_scores(criterion: SentencePredictionCriterion, model, sample) -> Tensor:
    """``(B, classes)``, the logits of one pass of the model; ``(B, 1)`` for regression."""
    return model(
        **sample["net_input"],
        features_only=True,
        classification_head_name=criterion.classification_head_name,
    )[0]


@register_criterion("addrop_sentence_prediction", dataclass=ADDropSentencePredictionConfig)
class ADDropSentencePredictionCriterion(ADDropCriterion, SentencePredictionCriterion):
    """The loss of ``sentence_prediction`` with attributed attention positions dropped.

    Classification: the attribution is that of the sum of the pseudo-labels' logits. Regression:
    that of the outputs themselves.
    """

    scores = sentence_scores

    def __init__(self, cfg, task):
        super().__init__(cfg, task)
        self.set_up(cfg)
