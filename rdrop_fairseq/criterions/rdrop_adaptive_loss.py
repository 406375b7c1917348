"""R-Drop on top of fairseq's ``adaptive_loss``."""

from fairseq.criterions import register_criterion
from fairseq.criterions.adaptive_loss import AdaptiveLoss, AdaptiveLossConfig
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion

from rdrop_fairseq.adaptive_head import AdaptiveHead
from rdrop_fairseq.criterions.base import ViewsCriterion
from rdrop_fairseq.criterions.log import log_views
from rdrop_fairseq.losses.interface import rdrop_weights
from rdrop_fairseq.option import config_class
from rdrop_fairseq.options import ADAPTIVE
from rdrop_fairseq.views.choice import choose_views

RDropAdaptiveLossConfig = config_class("RDropAdaptiveLossConfig", AdaptiveLossConfig, ADAPTIVE)


@register_criterion("rdrop_adaptive_loss", dataclass=RDropAdaptiveLossConfig)
class RDropAdaptiveLoss(ViewsCriterion, AdaptiveLoss):
    """Cross-entropy of the views and the KL between them, in the head and in each tail.

    The loss, and why its KL is not that of the whole vocabulary, stand in
    ``losses/adaptive.py``.

    Raises:
        ValueError: an option out of range, or a second dropout rate with more than two passes.
    """

    options = ADAPTIVE

    @classmethod
    def build_criterion(cls, cfg, task):
        """Refuse, as fairseq's criterion, a backend for distributed training that does not work."""
        AdaptiveLoss.build_criterion(cfg, task)
        return cls(cfg, task)

    def __init__(self, cfg, task):
        super().__init__(task, cfg.sentence_avg)
        self.check_options(cfg)
        self.read_schedule(cfg)
        self.weights = rdrop_weights(cfg.rdrop_views)
        self.views = choose_views(cfg)
        self.read_loss(cfg)

    def choose_head(self, model):
        """The adaptive softmax of this model."""
        return AdaptiveHead(model, self.implementation, **self.loss_options)

    def forward_plain(self, model, sample, reduce):
        """As that of the parent class, with the ``nll_loss`` that updates with views log."""
        loss, sample_size, log = super().forward_plain(model, sample, reduce)
        return loss, sample_size, {**log, "nll_loss": log["loss"]}

    def loss_of_views(self, head, output, target, alpha, weights, reduce):
        """The loss of the target tokens; with ``reduce=False`` of each."""
        return head.loss(output, target, alpha, self.padding_idx, reduce, weights)

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Log validation as ``adaptive_loss``, and training as the other criteria with views.

        Since ``adaptive_loss`` takes the whole loss for the negative log-likelihood.
        """
        is_training = any("rdrop_ntokens" in log for log in logging_outputs)
        parent = LabelSmoothedCrossEntropyCriterion if is_training else AdaptiveLoss
        parent.reduce_metrics(logging_outputs)
        log_views(logging_outputs, cls.unit)
