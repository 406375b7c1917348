"""AD-DROP on top of fairseq's ``sentence_prediction``."""

from fairseq.criterions import register_criterion
from fairseq.criterions.sentence_prediction import (
    SentencePredictionConfig,
    SentencePredictionCriterion,
)

from rdrop_fairseq.criterions.addrop import ADDropCriterion
from rdrop_fairseq.options import ADDROP, config_class

ADDropSentencePredictionConfig = config_class(
    "ADDropSentencePredictionConfig", SentencePredictionConfig, ADDROP
)


@register_criterion("addrop_sentence_prediction", dataclass=ADDropSentencePredictionConfig)
class ADDropSentencePredictionCriterion(ADDropCriterion, SentencePredictionCriterion):
    """The loss of ``sentence_prediction`` with attributed attention positions dropped.

    Classification: the attribution is that of the sum of the pseudo-labels' logits. Regression:
    that of the outputs themselves.
    """

    def __init__(self, cfg, task):
        super().__init__(cfg, task)
        self.set_up(cfg)

    def scores(self, model, sample):
        """``(B, classes)``, the logits; ``(B, 1)`` for regression."""
        logits, _ = model(
            **sample["net_input"],
            features_only=True,
            classification_head_name=self.classification_head_name,
        )
        return logits
