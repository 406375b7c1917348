"""What AD-DROP attributes: a row of scores for each prediction, of one pass of the model."""

from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.criterions.sentence_prediction import SentencePredictionCriterion
from torch import Tensor


def token_scores(criterion: LabelSmoothedCrossEntropyCriterion, model, sample) -> Tensor:
    """``(N, V)``, the log-probabilities at the target tokens that count.

    The targets themselves say nothing but where padding is.
    """
    net_output = model(**sample["net_input"])
    log_probs, target = criterion.get_lprobs_and_target(model, net_output, sample)
    places = target.ne(criterion.padding_idx).nonzero(as_tuple=True)
    return log_probs[places]  # by a mask, the backward pass would wait for the device again


def sentence_scores(criterion: SentencePredictionCriterion, model, sample) -> Tensor:
    """``(B, classes)``, the logits; of a regression ``(numbers, 1)``."""
    output = model(
        **sample["net_input"],
        features_only=True,
        classification_head_name=criterion.classification_head_name,
    )[0]
    return output.reshape(-1, 1) if criterion.regression_target else output
