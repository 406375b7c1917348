"""What R-Drop and SimCut share on top of fairseq's ``label_smoothed_cross_entropy``."""

from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion

from rdrop_fairseq.criterions.base import ViewsCriterion
from rdrop_fairseq.heads import choose_head


class LabelSmoothedViewsCriterion(ViewsCriterion, LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy of the views and the KL between them.

    A subclass names its ``options``, and makes its ``views`` and ``weights`` of them.

    Raises:
        ValueError: an option out of range.
    """

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

    def loss_of_views(self, head, output, target, alpha, weights, reduce):
        """The loss of the target tokens behind the prefix; with ``reduce=False`` of each."""
        start = self.ignore_prefix_size
        output, target = output[:, :, start:], target[:, start:]
        return head.loss(output, target, alpha, self.eps, self.padding_idx, reduce, weights)

    def accuracy(self, groups, target) -> dict:
        """Correct tokens and all tokens behind the prefix, over the views with a cross-entropy."""
        n_correct = total = 0
        for group in groups:
            of_group = target[group.sentences, self.ignore_prefix_size :]
            is_counted = self.is_counted(of_group)
            for view, weight in zip(group.output, self.weights.nll_weights()):
                if weight:
                    is_correct = view[:, self.ignore_prefix_size :].argmax(-1).eq(of_group)
                    n_correct += (is_correct & is_counted).sum()
                    total += is_counted.sum()
        return {"n_correct": n_correct.item(), "total": total.item()}
