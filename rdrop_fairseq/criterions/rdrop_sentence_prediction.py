"""R-Drop on top of fairseq's ``sentence_prediction``: classes and numbers for sentences."""

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.sentence_prediction import (
    SentencePredictionConfig,
    SentencePredictionCriterion,
)

from rdrop_fairseq.criterions import sentences
from rdrop_fairseq.criterions.base import ViewsCriterion
from rdrop_fairseq.criterions.log import log_sentences
from rdrop_fairseq.heads import SentenceHead
from rdrop_fairseq.losses.interface import rdrop_weights
from rdrop_fairseq.losses.sentences import IGNORED, classification_loss, regression_loss
from rdrop_fairseq.option import config_class
from rdrop_fairseq.options import SENTENCES
from rdrop_fairseq.views.choice import choose_views

RDropSentencePredictionConfig = config_class(
    "RDropSentencePredictionConfig", SentencePredictionConfig, SENTENCES
)


@register_criterion("rdrop_sentence_prediction", dataclass=RDropSentencePredictionConfig)
class RDropSentencePredictionCriterion(ViewsCriterion, SentencePredictionCriterion):
    """Cross-entropy of the dropout passes plus ``alpha`` times their symmetric KL, by sentences.

    Liang et al., NeurIPS 2021, eq. 4, with one "token" a sentence. With ``--regression-target``
    squared errors take the place of both. A training sentence without a label (``<pad>`` in the
    label file) counts in the KL only. As in fairseq's criterion the loss is always a sum.

    Raises:
        ValueError: an option out of range, a second dropout rate with more than two passes, a
            number of classes that does not fit the labels, and in training and validation a label
            that is no class, or a classification head that the model does not have.
    """

    options = SENTENCES
    unit = "nsentences"
    report_accuracy = True
    logging_outputs_can_be_summed = sentences.can_be_summed

    def __init__(self, cfg, task):
        super().__init__(cfg, task)
        self.check_options(cfg)
        self.read_schedule(cfg)
        self.weights = rdrop_weights(cfg.rdrop_views)
        self.views = choose_views(cfg)
        if not self.regression_target:
            sentences.check_classes(task)

    def forward(self, model, sample, reduce=True):
        """Return the loss in nats, how many sentences (in a regression: numbers), and the log."""
        sentences.check_batch(self, model, sample, may_lack=model.training)
        return super().forward(model, sample)  # fairseq's criterion ignores reduce

    def forward_plain(self, model, sample, reduce):
        """One pass, in which sentences without a label count for nothing."""
        if self.regression_target:
            loss, sample_size, log = super().forward_plain(model, sample, reduce)
            return loss, sample_size, {**log, "nll_loss": log["loss"], "n_labelled": sample_size}
        target = sample["target"]
        is_labelled = sentences.labelled(target, self.task)
        ignored = target.masked_fill(~is_labelled, IGNORED)
        loss, sample_size, log = super().forward_plain(model, {**sample, "target": ignored}, reduce)
        log["n_correct"] = log.pop("ncorrect")
        return loss, sample_size, {**log, "nll_loss": log["loss"], "n_labelled": count(is_labelled)}

    def sizes(self, sample, target) -> dict:
        """As fairseq's criterion counts: numbers, in a regression of several numbers a sentence."""
        numbers = target.numel()
        return {"ntokens": sample["ntokens"], "nsentences": numbers, "sample_size": numbers}

    def is_counted(self, target):
        """Every sentence has a KL: ``(B, 1)`` of true."""
        return torch.ones_like(target, dtype=torch.bool)

    def choose_head(self, model):
        """The classification head that the options name."""
        return SentenceHead(self.classification_head_name)

    def check_model(self, model) -> None:
        """As the parent class, and refuse fairseq's adaptive pruning, whose loss is of one pass."""
        super().check_model(model)
        arguments = getattr(model, "args", None)
        if any(getattr(arguments, f"{part}_reg_scale_factor", 0) for part in ("mha", "ffn")):
            raise NotImplementedError(
                "R-Drop does not go with adaptive pruning, whose loss is of one pass: train "
                "without --mha-reg-scale-factor and --ffn-reg-scale-factor"
            )

    def loss_of_views(self, head, output, target, alpha, weights, reduce):
        """The loss of ``(M, B, C)`` logits or numbers, summed over the sentences."""
        if self.regression_target:
            return regression_loss(output, target.view(output.shape[1:]), alpha, weights)
        target = target.flatten()
        is_labelled = sentences.labelled(target, self.task)
        return classification_loss(output, target, is_labelled, alpha, weights)

    def accuracy(self, groups, target) -> dict:
        """``n_labelled`` sentences and, of classes, ``n_correct`` in the mean of the views."""
        if self.regression_target:
            return {"n_labelled": target.numel()}
        is_labelled = sentences.labelled(target, self.task)
        correct = sum(
            (group.output.argmax(-1) == target[group.sentences].flatten()).float().mean(0).sum()
            for group in groups
        )
        return {"n_correct": correct, "n_labelled": count(is_labelled)}

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Log what the parent classes log and, in training, accuracy and loss of one pass."""
        super().reduce_metrics(logging_outputs)
        log_sentences(logging_outputs)


def count(mask: torch.Tensor) -> int:
    """How often it is true: a number, since the log would wait at each look at a tensor."""
    return int(mask.sum())
