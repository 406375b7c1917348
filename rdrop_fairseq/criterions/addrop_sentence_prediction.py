"""AD-DROP on top of fairseq's ``sentence_prediction``."""

from fairseq.criterions import register_criterion
from fairseq.criterions.sentence_prediction import (
    SentencePredictionConfig,
    SentencePredictionCriterion,
)

from rdrop_fairseq.criterions import sentences
from rdrop_fairseq.criterions.addrop import ADDropCriterion
from rdrop_fairseq.criterions.scores import sentence_scores
from rdrop_fairseq.option import config_class
from rdrop_fairseq.options import ADDROP

ADDropSentencePredictionConfig = config_class(
    "ADDropSentencePredictionConfig", SentencePredictionConfig, ADDROP
)


@register_criterion("addrop_sentence_prediction", dataclass=ADDropSentencePredictionConfig)
class ADDropSentencePredictionCriterion(ADDropCriterion, SentencePredictionCriterion):
    """The loss of ``sentence_prediction`` with attributed attention positions dropped.

    Classification: the attribution is that of the sum of the pseudo-labels' logits. Regression:
    that of the sum of the outputs.

    Raises:
        ValueError: as :class:`~rdrop_fairseq.criterions.rdrop_sentence_prediction`'s criterion, and
            where a sentence has no label.
    """

    scores = sentence_scores
    logging_outputs_can_be_summed = sentences.can_be_summed

    def __init__(self, cfg, task):
        super().__init__(cfg, task)
        self.set_up(cfg)
        if not self.regression_target:
            sentences.check_classes(task)

    def forward(self, model, sample, reduce=True):
        """As that of the parent class."""
        sentences.check_batch(self, model, sample)
        return super().forward(model, sample, reduce=reduce)
