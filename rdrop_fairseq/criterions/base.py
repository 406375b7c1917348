"""The one way through a training pass: schedule, views, model, head, loss, log."""

import logging

import torch

from rdrop_fairseq.criterions.checked_options import CheckedOptions
from rdrop_fairseq.criterions.log import log_views
from rdrop_fairseq.heads import Head
from rdrop_fairseq.losses.interface import RDropLoss, ViewWeights
from rdrop_fairseq.noise import has_noise_per_pass
from rdrop_fairseq.schedule import Schedule
from rdrop_fairseq.views.repeat import RepeatedViews, choose_sentences
from rdrop_fairseq.wrappers import inside_wrappers

logger = logging.getLogger(__name__)


class ViewsCriterion(CheckedOptions):
    """What every criterion with views does: a mixin, the first base before a fairseq criterion.

    In validation, and in an update whose schedule has no second pass, that criterion does
    everything. The sample that fairseq's trainer gives is never changed. A subclass sets the
    attributes below, calls :meth:`check_options`, :meth:`read_schedule` and :meth:`read_loss` in
    its ``__init__``, and says in :meth:`loss_of_views` what its loss is.
    """

    schedule: Schedule
    views: RepeatedViews
    weights: ViewWeights
    share: float
    """Of the sentences of a batch that have several views."""
    report_accuracy: bool = False
    """Whether the log has the accuracy over the views."""
    unit: str = "ntokens"
    """The key of the log that counts what has one KL: ``ntokens`` or ``nsentences``."""

    _head = None
    _update = None

    def read_schedule(self, cfg) -> None:
        """Set the schedule and the share of the sentences that have several views."""
        self.schedule = Schedule(
            cfg.reg_alpha, cfg.rdrop_start_update, cfg.rdrop_ramp_updates, cfg.rdrop_every
        )
        self.share = cfg.rdrop_share

    def read_loss(self, cfg) -> None:
        """Set how the loss is computed, for ``choose_head``."""
        self.implementation = cfg.rdrop_loss
        self.loss_options = {
            "kernel": cfg.rdrop_kernel,
            "chunk_size": cfg.rdrop_chunk_size,
            "chunk_memory": cfg.rdrop_chunk_memory,
        }

    def forward(self, model, sample, reduce=True):
        """Return the loss in nats, the sample size (of one view) and the logging output.

        With ``reduce=False`` the loss is one value per target token, ``(B * T,)``.
        """
        if not model.training:
            return super().forward(model, sample, reduce=reduce)
        # a model that is refused is refused now, not at a late start
        head = self.head(model) if self.schedule.alpha > 0 else None
        alpha = self.alpha_now()
        if alpha > 0:
            return self.forward_views(model, head, sample, alpha, reduce)
        loss, sample_size, logging_output = self.forward_plain(model, sample, reduce)
        logging_output.update({"kl_loss": 0, f"rdrop_{self.unit}": 0, "rdrop_alpha": 0})
        return loss, sample_size, logging_output

    def forward_plain(self, model, sample, reduce: bool):
        """As :meth:`forward`, by fairseq's criterion."""
        return super().forward(model, sample, reduce=reduce)

    def forward_views(self, model, head: Head, sample, alpha: float, reduce: bool):
        """As :meth:`forward`, where sentences have several views and the KL the weight alpha."""
        target = model.get_targets(sample, None)
        groups = self.run_views(model, head, sample)
        losses = self.loss_of_groups(head, groups, target, alpha, reduce)
        logging_output = {
            **{name: value.data for name, value in losses._asdict().items()},
            **self.sizes(sample, target),
        }
        count = logging_output[self.unit]
        logging_output[f"rdrop_{self.unit}"] = self.count_with_views(groups, target, count)
        logging_output["rdrop_alpha"] = alpha * count
        if self.report_accuracy:
            logging_output.update(self.accuracy(groups, target))
        return losses.loss, logging_output["sample_size"], logging_output

    def sizes(self, sample, target) -> dict:
        """How large a sample is, of one view, as fairseq's criterion logs it."""
        sample_size = len(target) if self.sentence_avg else sample["ntokens"]
        return {
            "ntokens": sample["ntokens"],
            "nsentences": len(target),
            "sample_size": sample_size,
        }

    def loss_of_views(
        self, head: Head, output, target, alpha, weights: ViewWeights, reduce
    ) -> RDropLoss:
        """The loss of what the head gives for each view.

        Args:
            head: of the model, as :meth:`choose_head` gives it.
            output: ``(M, B, T, V or H)``, logits or features by view, what the head makes.
            target: ``(B, T)``.
            alpha: weight of the KL.
            weights: of the views.
            reduce: sum over the tokens; otherwise ``(B, T)``.
        """
        raise NotImplementedError

    def set_num_updates(self, update: int) -> None:
        """Learn the number of the update, which the trainer tells (``compat/progress.py``)."""
        self._update = update

    def alpha_now(self) -> float:
        """The weight of the KL in this update; 0 where there is one plain pass."""
        if self.schedule.needs_update() and self._update is None:
            raise RuntimeError(
                "the schedule of R-Drop needs the number of the update, which fairseq's trainer "
                "tells only when patched: train without RDROP_FAIRSEQ_PATCHES=off"
            )
        return self.schedule.alpha_at(self._update or 0)

    def head(self, model) -> Head:
        """The model's head, chosen at the first batch and again when the model no longer fits."""
        if self._head is None:
            self.check_model(model)
        if self._head is None or not self._head.fits(model):
            self._head = self.choose_head(model)
            logger.info("R-Drop loss: %s", self._head.name)
        return self._head

    def choose_head(self, model) -> Head:
        """The head of this model that goes with the options."""
        raise NotImplementedError

    def run_views(self, model, head: Head, sample) -> list:
        """The views of a sample, as :class:`~rdrop_fairseq.views.repeat.Group`."""

        def run(repeated):
            net_output = model(**repeated["net_input"], **head.model_arguments)
            return head.output(model, net_output)

        chosen = choose_sentences(sample["target"].size(0), self.share)
        return self.views.groups(inside_wrappers(model), run, sample, chosen)

    def loss_of_groups(self, head: Head, groups, target, alpha, reduce) -> RDropLoss:
        """The loss whose expectation, and that of its gradient, no share of the sentences changes.

        Those with several views count with ``alpha / share``, the others without a KL.
        """
        parts = []
        for group in groups:
            of_group, weights = target[group.sentences], self.weights_of(group)
            group_alpha = alpha / self.share if len(group.output) > 1 else 0.0
            parts.append(
                self.loss_of_views(head, group.output, of_group, group_alpha, weights, reduce)
            )
        if reduce:
            return RDropLoss(*map(sum, zip(*parts)))
        whole = parts[0] if len(groups) == 1 else in_order_of_batch(parts, groups)
        return RDropLoss(*(values.flatten() for values in whole))  # as fairseq's criteria

    def weights_of(self, group) -> ViewWeights:
        """The weights of the views of a group.

        Where views are alike, a sentence with one view counts its cross-entropy for all M views.
        Elsewhere it counts once, and each later view of a sentence with all counts ``1 / share``
        times.
        """
        has_all = len(group.output) > 1
        if self.views.are_alike:
            return self.weights if has_all else self.weights.of_one_view()
        return self.weights.of_share(self.share) if has_all else self.weights.of_first_view()

    def count_with_views(self, groups, target, count):
        """How many target tokens (or sentences) have several views."""
        if self.share == 1:
            return count
        counted = self.is_counted(target)
        many = sum(counted[g.sentences].sum() for g in groups if len(g.output) > 1)
        # a number, since the log would wait each time that it looks at a tensor
        return count * float(many / counted.sum().double())

    def is_counted(self, target):
        """True where a target is not padding, in the shape of the target."""
        return target.ne(self.padding_idx)

    def accuracy(self, groups, target) -> dict:
        """What the log needs for the accuracy."""
        raise NotImplementedError

    def check_model(self, model) -> None:
        """Refuse a model that cannot be trained, and warn of one whose views are all the same."""
        self.views.check(model, self.share)
        if not self.views.can_differ(model):
            shared = (
                " (LayerDrop and quantisation noise, which this model has, are drawn once for both)"
                if has_noise_per_pass(model)
                else ""
            )
            logger.warning(
                "every dropout of this model is 0, so both R-Drop passes are the same%s, their KL "
                "is 0 and the second pass is wasted: set --dropout (or --attention-dropout, "
                "--activation-dropout)",
                shared,
            )

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Log what the parent class logs and, in training, what the views did."""
        super().reduce_metrics(logging_outputs)
        log_views(logging_outputs, cls.unit)


def in_order_of_batch(losses: list, groups: list) -> RDropLoss:
    """``(B, T)`` in each field, from the losses ``(b, T)`` of each group."""
    order = torch.cat([group.sentences for group in groups]).argsort()
    return RDropLoss(*(torch.cat(values)[order] for values in zip(*losses)))
