"""R-Drop on top of fairseq's ``label_smoothed_cross_entropy``."""

import argparse
import functools
import logging
import math
from dataclasses import dataclass, field
from typing import Optional

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.dataclass import ChoiceEnum
from fairseq.logging import metrics
from fairseq.modules import AdaptiveSoftmax, FairseqDropout

from rdrop_fairseq.losses.fused import fused_rdrop_loss, linear_rdrop_loss
from rdrop_fairseq.losses.reference import check_loss_weights, rdrop_loss
from rdrop_fairseq.projection import has_own_probabilities, linear_projection
from rdrop_fairseq.views import dropout_views, split_views

logger = logging.getLogger(__name__)

VIEWS = 2
FROM_FEATURES = "fused, from the decoder's features"
FROM_LOGITS = "fused, from the model's logits"
REFERENCE = "reference"
CHECKED_OPTIONS = {"reg_alpha": float, "label_smoothing": float, "rdrop_chunk_size": int}


@dataclass
class RDropLabelSmoothedCrossEntropyCriterionConfig(LabelSmoothedCrossEntropyCriterionConfig):
    """The options of ``label_smoothed_cross_entropy`` and those of R-Drop."""

    reg_alpha: float = field(
        default=5.0,
        metadata={
            "help": "weight alpha of the R-Drop regularisation: loss = sum of the label-smoothed "
            "cross-entropies of both passes + alpha * 1/2 [KL(p||q) + KL(q||p)], normalised by the "
            "target tokens of one pass"
        },
    )
    rdrop_loss: ChoiceEnum(["auto", "fused", "reference"]) = field(
        default="auto",
        metadata={
            "help": "fused: gradient in closed form, from the decoder's features where the model "
            "allows it, else from its logits; reference: plain PyTorch; auto: fused on CPU and CUDA"
        },
    )
    rdrop_chunk_size: Optional[int] = field(
        default=None,
        metadata={"help": "target tokens in a chunk of the fused loss (default: by vocabulary)"},
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

    @classmethod
    def add_args(cls, parser):
        """Add the options; one that is out of range ends the program in a sentence."""
        config = RDropLabelSmoothedCrossEntropyCriterionConfig()
        for name, convert in CHECKED_OPTIONS.items():
            parser.add_argument(
                "--" + name.replace("_", "-"),
                type=checked(name, convert),
                default=getattr(config, name),
                help=config._get_help(name),
            )
        super().add_args(parser)  # which adds those that are not there yet

    def __init__(
        self,
        task,
        sentence_avg,
        label_smoothing,
        ignore_prefix_size=0,
        report_accuracy=False,
        reg_alpha=5.0,
        rdrop_loss="auto",
        rdrop_chunk_size=None,
    ):
        check_options(reg_alpha, label_smoothing, rdrop_chunk_size)
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        self.reg_alpha = reg_alpha
        self.rdrop_loss = str(rdrop_loss)
        self.rdrop_chunk_size = rdrop_chunk_size
        self._path = None

    def forward(self, model, sample, reduce=True):
        """Return the loss in nats, the sample size (of one view) and the logging output.

        With ``reduce=False`` the loss is one value a target token, ``(B * T,)``.
        """
        if not model.training:
            return super().forward(model, sample, reduce=reduce)
        if self._path is None:
            self._check_model(model)
            self._path = self._choose_path(model, sample["target"].device)
            logger.info("R-Drop loss: %s", self._path)
        views = dropout_views(sample, VIEWS)
        features_only = {"features_only": True} if self._path == FROM_FEATURES else {}
        net_output = model(**views["net_input"], **features_only)
        loss, nll_loss, kl_loss = self.compute_rdrop_loss(model, net_output, sample, reduce)
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logging_output = {
            "loss": loss.data,
            "nll_loss": nll_loss.data,
            "kl_loss": kl_loss.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        if self.report_accuracy:
            n_correct, total = self.compute_accuracy(model, net_output, views)
            logging_output["n_correct"] = n_correct.item()
            logging_output["total"] = total.item()
        return loss, sample_size, logging_output

    def compute_rdrop_loss(self, model, net_output, sample, reduce=True):
        """R-Drop loss of ``net_output``, which holds logits or features of every view."""
        start = self.ignore_prefix_size
        output = net_output[0]
        if has_own_probabilities(model):  # their logarithms serve as logits: softmax keeps them
            output = model.get_normalized_probs(net_output, log_probs=True)
        output = split_views(output, VIEWS)[:, :, start:].flatten(1, 2)
        target = model.get_targets(sample, net_output)[:, start:].flatten()
        objective = (target, self.reg_alpha, self.eps, self.padding_idx, reduce)
        if self._path == FROM_FEATURES:
            projection = linear_projection(model)
            return linear_rdrop_loss(
                output, projection.weight, projection.bias, *objective, self.rdrop_chunk_size
            )
        from_logits = rdrop_loss if self._path == REFERENCE else fused_rdrop_loss
        return from_logits(output, *objective)

    def _choose_path(self, model, device):
        if self.rdrop_loss == "reference":
            return REFERENCE
        if self.rdrop_loss == "auto" and device.type not in ("cpu", "cuda"):
            return REFERENCE
        projection = linear_projection(model)
        if projection is None or self.report_accuracy:  # accuracy is counted on logits
            return FROM_LOGITS
        return FROM_FEATURES

    def _check_model(self, model):
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


def check_options(reg_alpha=0.0, label_smoothing=0.0, rdrop_chunk_size=None) -> None:
    """Raise ``ValueError``, in a sentence, for a value out of range."""
    check_loss_weights(reg_alpha, label_smoothing)
    if rdrop_chunk_size is not None and rdrop_chunk_size < 1:
        raise ValueError(f"--rdrop-chunk-size must be 1 or more, not {rdrop_chunk_size}")


def checked(name, convert):
    """An argparse type: ``convert``, and :func:`check_options` of the option ``name``."""

    @functools.wraps(convert, updated=())
    def read(text):
        value = convert(text)
        try:
            check_options(**{name: value})
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return value

    return read


def has_dropout(model: torch.nn.Module) -> bool:
    """Whether any module of ``model`` would make two passes over one sentence differ."""
    dropouts = (FairseqDropout, torch.nn.modules.dropout._DropoutNd)
    return any(
        (isinstance(module, dropouts) and module.p > 0)
        or (isinstance(module, torch.nn.RNNBase) and module.dropout > 0)
        for module in model.modules()
    )
