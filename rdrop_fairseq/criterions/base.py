"""The one way through a training pass: sample, views, model, head, loss, log."""

import logging
import math

import torch
from fairseq.criterions import FairseqCriterion
from fairseq.logging import metrics
from fairseq.modules import AdaptiveSoftmax, FairseqDropout, LayerDropModuleList
from fairseq.modules.quant_noise import quant_noise

from rdrop_fairseq import heads  # not its names: it may be what imported fairseq, and so this
from rdrop_fairseq.losses.interface import RDropLoss
from rdrop_fairseq.views.repeat import repeat_sample, split_views

logger = logging.getLogger(__name__)

NUM_VIEWS = 2


class RDropCriterion(FairseqCriterion):
    """What every R-Drop criterion does; comes before the fairseq criterion that it extends.

    In validation there is one pass, and that criterion does everything. The sample that fairseq's
    trainer gives is never changed. A subclass sets :attr:`reg_alpha`, :attr:`rdrop_loss` and
    :attr:`rdrop_chunk_size`, and says in :meth:`loss_of_views` what its loss is.
    """

    _head = None

    def forward(self, model, sample, reduce=True):
        """Return the loss in nats, the sample size (of one view) and the logging output.

        With ``reduce=False`` the loss is one value per target token, ``(B * T,)``.
        """
        if not model.training:
            return super().forward(model, sample, reduce=reduce)
        head = self.head(model)
        repeated = repeat_sample(sample, NUM_VIEWS)
        net_output = model(**repeated["net_input"], **head.model_arguments)
        output = split_views(head.output(model, net_output), NUM_VIEWS)
        losses = self.loss_of_views(head, output, model.get_targets(sample, net_output), reduce)
        sample_size = sample["target"].size(0) if self.sentence_avg else sample["ntokens"]
        logging_output = {
            **{name: value.data for name, value in losses._asdict().items()},
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample_size,
        }
        if self.report_accuracy:
            n_correct, total = self.compute_accuracy(model, net_output, repeated)
            logging_output.update(n_correct=n_correct.item(), total=total.item())
        return losses.loss, sample_size, logging_output

    def loss_of_views(self, head: "heads.LogitsHead", output, target, reduce: bool) -> RDropLoss:
        """The loss of what the head gives for each view.

        Args:
            head: whose ``loss`` is to be called.
            output: ``(M, B, T, V or H)``, logits or features by view.
            target: ``(B, T)``.
            reduce: sum over the tokens.
        """
        raise NotImplementedError

    def head(self, model) -> "heads.LogitsHead":
        """The model's head, chosen at the first batch and again when the model no longer fits."""
        if self._head is None:
            check_model(model, self.reg_alpha)
        if self._head is None or not self._head.fits(model):
            self._head = heads.choose_head(
                model, self.rdrop_loss, self.rdrop_chunk_size, needs_logits=self.report_accuracy
            )
            logger.info("R-Drop loss: %s", self._head.name)
        return self._head

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Log what the parent class logs and, in training, ``kl_loss`` (bits per target token)."""
        super().reduce_metrics(logging_outputs)
        if any("kl_loss" in log for log in logging_outputs):
            kl_loss = sum(log.get("kl_loss", 0) for log in logging_outputs)
            ntokens = sum(log.get("ntokens", 0) for log in logging_outputs)
            metrics.log_scalar("kl_loss", kl_loss / ntokens / math.log(2), ntokens, round=3)


def check_model(model: torch.nn.Module, alpha: float) -> None:
    """Refuse a model that R-Drop cannot train, and warn of one that has no dropout."""
    if any(isinstance(module, AdaptiveSoftmax) for module in model.modules()):
        raise NotImplementedError(
            "rdrop_label_smoothed_cross_entropy needs logits over the whole vocabulary, which "
            "an adaptive softmax does not give: train without --adaptive-softmax-cutoff"
        )
    if alpha > 0 and not has_dropout(model):
        shared = (
            " (LayerDrop and quantisation noise, which this model has, are drawn once for both)"
            if has_shared_noise(model)
            else ""
        )
        logger.warning(
            "every dropout of this model is 0, so both R-Drop passes are the same%s, their KL "
            "is 0 and the second pass is wasted: set --dropout (or --attention-dropout, "
            "--activation-dropout)",
            shared,
        )


def has_dropout(model: torch.nn.Module) -> bool:
    """Whether any module of ``model`` would make two passes over one sentence differ."""
    dropouts = (FairseqDropout, torch.nn.modules.dropout._DropoutNd)
    return any(
        (isinstance(module, dropouts) and module.p > 0)
        or (isinstance(module, torch.nn.RNNBase) and module.dropout > 0)
        for module in model.modules()
    )


def has_shared_noise(model: torch.nn.Module) -> bool:
    """Whether layers or weights are dropped: once for a batch, so for both passes alike."""
    modules = list(model.modules())
    hooks = (hook for module in modules for hook in module._forward_pre_hooks.values())
    return any(isinstance(module, LayerDropModuleList) for module in modules) or any(
        hook.__module__ == quant_noise.__module__ for hook in hooks
    )
