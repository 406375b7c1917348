"""fairseq's own criterion next to this project's, its log, and what a model was asked for."""

from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.logging import metrics


def plain_criterion(setup):
    """``label_smoothed_cross_entropy`` with the options of a built criterion that extends it."""
    criterion = setup.criterion
    return LabelSmoothedCrossEntropyCriterion(
        setup.task,
        criterion.sentence_avg,
        criterion.eps,
        criterion.ignore_prefix_size,
        criterion.report_accuracy,
    )


def logged(criterion, *logging_outputs):
    """What fairseq writes in its log for these outputs."""
    with metrics.aggregate(new_root=True) as meters:
        criterion.reduce_metrics(list(logging_outputs))
        return meters.get_smoothed_values()


def rows_of_passes(model) -> list:
    """A list that grows by the number of rows of every pass of a model from now on."""
    rows = []
    model.decoder.embed_tokens.register_forward_pre_hook(
        lambda embedding, inputs: rows.append(len(inputs[0]))
    )
    return rows
