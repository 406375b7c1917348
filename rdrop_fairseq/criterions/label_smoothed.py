"""What R-Drop and SimCut share on top of fairseq's ``label_smoothed_cross_entropy``."""

from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from torch import Tensor

from rdrop_fairseq.criterions.base import RDropCriterion
from rdrop_fairseq.heads import choose_head
from rdrop_fairseq.options import LABEL_SMOOTHING


def token_scores(criterion: LabelSmoothedCrossEntropyCriterion, model, sample) -> Tensor:
    """``(N, V)``, the log-probabilities at the target tokens that count, of one pass of the model.

    The targets themselves say nothing but where padding is.
    """
    net_output = model(**sample["net_input"])
    log_probs, target = criterion.get_lprobs_and_target(model, net_output, sample)
    places = target.ne(criterion.padding_idx).nonzero(as_tuple=True)
    return log_probs[places]  # by a mask, the backward pass would wait for the device again


class LabelSmoothedViewsCriterion(RDropCriterion, LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy of the views and the KL between them.

    A subclass names its ``options``, and makes its ``views`` and ``weights`` of them.

    Raises:
        ValueError: an option out of range.
    """

    @classmethod
    def checked_options(cls) -> tuple:
        """The options of the criterion, and the one of fairseq's."""
        return (*cls.options, LABEL_SMOOTHING)

    def __init__(self, cfg, task):
        super().__init__(
            task,
            cfg.sentence_avg,
            cfg.label_smoothing,
            cfg.ignore_prefix_size,
            cfg.report_accuracy,
        )
        self.check_options(cfg)
        self.read_schedule(cfg)
        self.read_loss(cfg)

    def choose_head(self, model):
        """The head that trains this model fastest."""
        return choose_head(
            model, self.implementation, needs_logits=self.report_accuracy, **self.loss_options
        )

    def loss_of_views(self, head, output, target, alpha, weights, reduce=True):
        """The loss of the target tokens behind the prefix; with ``reduce=False`` ``(B * T,)``."""
        start = self.ignore_prefix_size
        return head.loss(
            output[:, :, start:].flatten(1, 2),
            target[:, start:].flatten(),
            alpha,
            self.eps,
            self.padding_idx,
            reduce,
            weights,
        )
