"""An alpha that follows a target KL: a `--user-dir` for a trial, not part of the plugin.

Liang et al. 2021 derive R-Drop from a constraint on the KL. Alpha is the multiplier of the
constraint: it grows while the KL is above the target, and falls while it is below.
"""

from dataclasses import dataclass, field

from fairseq.criterions import register_criterion

from rdrop_fairseq.criterions.rdrop_label_smoothed_cross_entropy import (
    RDropLabelSmoothedCrossEntropyCriterion,
    RDropLabelSmoothedCrossEntropyCriterionConfig,
)

LEAST_ALPHA = 1e-3
"""At 0 there is no second pass, and so no KL to follow."""


@dataclass
class TargetKLConfig(RDropLabelSmoothedCrossEntropyCriterionConfig):
    """The options of R-Drop, whose ``--reg-alpha`` is the first alpha, and two more.

    The schedule (start, ramp, every) has no effect.
    """

    target_kl: float = field(default=0.25, metadata={"help": "KL in nats a target token"})
    target_kl_step: float = field(
        default=0.01, metadata={"help": "change of alpha for each nat between KL and target"}
    )


@register_criterion("target_kl_label_smoothed_cross_entropy", dataclass=TargetKLConfig)
class TargetKLCriterion(RDropLabelSmoothedCrossEntropyCriterion):
    """R-Drop with ``alpha = max(0.001, alpha + step * (KL - target))`` after each batch.

    For one process: alpha is neither shared between processes nor kept in a checkpoint.
    """

    def __init__(self, cfg, task):
        super().__init__(cfg, task)
        self.alpha, self.target, self.step = cfg.reg_alpha, cfg.target_kl, cfg.target_kl_step

    def alpha_now(self):
        """The weight of the KL in this update."""
        return self.alpha

    def forward_views(self, *args):
        """As R-Drop does, and then change alpha."""
        loss, sample_size, logging_output = super().forward_views(*args)
        kl = float(logging_output["kl_loss"]) / float(logging_output["rdrop_ntokens"])
        self.alpha = max(LEAST_ALPHA, self.alpha + self.step * (kl - self.target))
        return loss, sample_size, logging_output
