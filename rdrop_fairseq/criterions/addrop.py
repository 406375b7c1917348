"""What AD-DROP adds to a criterion of fairseq."""

from functools import partial

import torch
from fairseq.logging import metrics
from torch import Tensor

from rdrop_fairseq.criterions.checked_options import CheckedOptions
from rdrop_fairseq.options import ADDROP
from rdrop_fairseq.views.addrop import AttentionDrop
from rdrop_fairseq.wrappers import whole_model


class ADDropCriterion(CheckedOptions):
    """AD-DROP (Yang et al., NeurIPS 2022); comes before the fairseq criterion that it extends.

    That criterion does everything in validation and in plain epochs, and makes the loss of the
    second pass. A subclass says in :meth:`scores` what the pseudo-labels are taken from.

    Raises:
        ValueError: an option out of range.
    """

    options = ADDROP
    _epoch = None

    def set_up(self, cfg) -> None:
        """Check and keep the options."""
        self.check_options(cfg)
        self.attention_drop = AttentionDrop(cfg)
        self.cross_tuning = not cfg.no_cross_tuning

    def scores(self, model, sample) -> Tensor:
        """``(N, C)``, a row for each prediction, of one pass of the model without its wrapper.

        The gold labels must have no influence on it.
        """
        raise NotImplementedError

    def forward(self, model, sample, reduce=True):
        """As the criterion that this one extends, in training with attention positions dropped."""
        if not model.training:
            return super().forward(model, sample, reduce=reduce)
        inner = whole_model(model)
        self.attention_drop.layers(inner)  # what is refused is refused now, not in a later epoch
        if not self.drops_now():
            loss, sample_size, log = super().forward(model, sample, reduce=reduce)
            log["addrop_share"] = 0
            return loss, sample_size, log
        with self.attention_drop.dropped(inner, partial(self.scores, inner, sample)) as masks:
            loss, sample_size, log = super().forward(model, sample, reduce=reduce)
        log["addrop_share"] = share_of(masks, loss.device) * sample_size
        return loss, sample_size, log

    def set_epoch(self, epoch: int) -> None:
        """Learn the number of the epoch, which the trainer tells (``compat/progress.py``)."""
        self._epoch = epoch

    def drops_now(self) -> bool:
        """Whether attention is dropped: with cross-tuning in every second epoch."""
        if not self.cross_tuning:
            return True
        if self._epoch is None:
            raise RuntimeError(
                "cross-tuning needs the number of the epoch, which fairseq's trainer tells only "
                "when patched: train without RDROP_FAIRSEQ_PATCHES=off, or with --no-cross-tuning"
            )
        return self._epoch % 2 == 0  # fairseq's first epoch is 1

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Log what the parent class logs and, in training, the share of keys that are dropped."""
        super().reduce_metrics(logging_outputs)
        if any("addrop_share" in log for log in logging_outputs):
            share, size = (
                sum(log.get(key, 0) for log in logging_outputs)
                for key in ("addrop_share", "sample_size")
            )
            metrics.log_scalar("addrop_share", share / size, size, round=3)


def share_of(masks: list, device: torch.device) -> Tensor:
    """The share of the keys, over the queries of all heads and layers, that masks drop.

    A query whose keys all have one attribution does not count. It has no influence, as padding or
    all but the first token in the last layer of a classifier; so its keys are all candidates, and
    it does not matter what it loses.

    Without a mask, where LayerDrop left out the layers, a tensor too: ranks must log one type.
    """
    keys, dropped = torch.zeros(2, dtype=torch.long, device=device)
    for mask in masks:
        attributions, is_key = torch.broadcast_tensors(mask.attributions, mask.is_key)
        highest = attributions.masked_fill(~is_key, -torch.inf).amax(-1, keepdim=True)
        is_counted = is_key & (is_key & (attributions < highest)).any(-1, keepdim=True)
        keys = keys + is_counted.sum()
        dropped = dropped + (mask.dropped & is_counted).sum()
    return dropped / keys.clamp(min=1)
