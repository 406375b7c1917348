"""R-Drop on top of fairseq's ``label_smoothed_cross_entropy``."""

import logging
import math
from dataclasses import dataclass, field

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.logging import metrics
from fairseq.modules import AdaptiveSoftmax, FairseqDropout

from rdrop_fairseq.losses.reference import check_loss_weights, rdrop_loss
from rdrop_fairseq.views import dropout_views, split_views

logger = logging.getLogger(__name__)

VIEWS = 2


@dataclass
class RDropLabelSmoothedCrossEntropyCriterionConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """The options of ``label_smoothed_cross_entropy`` and ``--reg-alpha``."""

    reg_alpha: float = field(
        default=5.0,
        metadata={
            "help": "weight alpha of the R-Drop regularisation: loss = sum of the label-smoothed "
            "cross-entropies of both passes + alpha * 1/2 [KL(p||q) + KL(q||p)], normalised by the "
            "target tokens of one pass"
        },
    )


@register_criterion(
    "rdrop_label_smoothed_cross_entropy", dataclass=RDropLabelSmoothedCrossEntropyCriterionConfig
)
class RDropLabelSmoothedCrossEntropyCriterion(LabelSmoothedCrossEntropyCriterion):
    """Label-smoothed cross-entropy of two dropout passes plus ``alpha`` times their symmetric KL.

    Liang et al., NeurIPS 2021, eq. 4. In validation there is one pass, and the parent class does
    everything. The sample that fairseq's trainer gives is never changed.

    Raises:
        ValueError: ``--reg-alpha`` or ``--label-smoothing`` out of range.
    """

    def __init__(
        self,
        task,
        sentence_avg,
        label_smoothing,
        ignore_prefix_size=0,
        report_accuracy=False,
        reg_alpha=5.0,
    ):
        check_loss_weights(reg_alpha, label_smoothing)
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        self.reg_alpha = reg_alpha
        self._model_checked = False

    def forward(self, model, sample, reduce=True):
        """Return the loss in nats, the sample size (of one view) and the logging output.

        With ``reduce=False`` the loss is one value a target token, ``(B * T,)``.
        """
        if not model.training:
            return super().forward(model, sample, reduce=reduce)
        self._check_model_once(model)
        views = dropout_views(sample, VIEWS)
        net_output = model(**views["net_input"])
        logits, target = self._logits_and_target(model, net_output, sample)
        loss, nll_loss, kl_loss = rdrop_loss(
            logits, target, self.reg_alpha, self.eps, self.padding_idx, reduce=reduce
        )
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": loss.data,
            "nll_loss": nll_loss,
            "kl_loss": kl_loss,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        if self.report_accuracy:
            n_correct, total = self.compute_accuracy(model, net_output, views)
            logging_output["n_correct"] = n_correct.item()
            logging_output["total"] = total.item()
        return loss, sample_size, logging_output

    def _logits_and_target(self, model, net_output, sample):
        """Logits ``(VIEWS, B * T, V)`` and target ``(B * T,)``, without the ignored prefix."""
        start = self.ignore_prefix_size
        logits = split_views(net_output[0], VIEWS)[:, :, start:]
        target = model.get_targets(sample, net_output)[:, start:]
        return logits.flatten(1, 2), target.flatten()

    def _check_model_once(self, model):
        if self._model_checked:
            return
        self._model_checked = True
        if any(isinstance(module, AdaptiveSoftmax) for module in model.modules()):
            raise NotImplementedError(
                "rdrop_label_smoothed_cross_entropy needs logits over the whole vocabulary, which "
                "an adaptive softmax does not give: train without --adaptive-softmax-cutoff"
            )
        if self.reg_alpha > 0 and not has_dropout(model):
            logger.warning(
                "every dropout of this model is 0, so both R-Drop passes are the same, their KL "
                "is 0 and the second pass is wasted: set --dropout (or --attention-dropout, "
                "--activation-dropout)"
            )

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Log what the parent class logs and, in training, ``kl_loss`` (bits per target token)."""
        super().reduce_metrics(logging_outputs)
        if any("kl_loss" in log for log in logging_outputs):
            kl_loss = sum(log.get("kl_loss", 0) for log in logging_outputs)
            ntokens = sum(log.get("ntokens", 0) for log in logging_outputs)
            metrics.log_scalar("kl_loss", kl_loss / ntokens / math.log(2), ntokens, round=3)


def has_dropout(model: torch.nn.Module) -> bool:
    """Whether any module of ``model`` would make two passes over one sentence differ."""
    dropouts = (FairseqDropout, torch.nn.modules.dropout._DropoutNd)
    return any(
        (isinstance(module, dropouts) and module.p > 0)
        or (isinstance(module, torch.nn.RNNBase) and module.dropout > 0)
        for module in model.modules()
    )
