"""What the log shows of the views, in addition to what fairseq's criterion logs."""

import math

from fairseq.logging import metrics


def log_views(logging_outputs: list, unit: str) -> None:
    """Log what the views of the training passes did; nothing for validation.

    A unit, one KL, is a target token or, with ``nsentences``, a sentence.

    Names in the log:
        ``rdrop_alpha``: the weight of the KL in force, the mean over units.
        ``rdrop_share``: of the units that had several views.
        ``kl_loss``: bits per unit with several views; 0 where none had.
    """
    if not any(f"rdrop_{unit}" in log for log in logging_outputs):
        return
    count, with_views, alpha, kl_loss = (
        sum(log.get(key, 0) for log in logging_outputs)
        for key in (unit, f"rdrop_{unit}", "rdrop_alpha", "kl_loss")
    )
    metrics.log_scalar("rdrop_alpha", alpha / count, count, round=3)
    metrics.log_scalar("rdrop_share", with_views / count, count, round=3)
    # always, since fairseq would log null for a number that a --log-interval lacks
    kl_loss = kl_loss / max(with_views, 1) / math.log(2)
    metrics.log_scalar("kl_loss", kl_loss, with_views, round=3)


def log_sentences(logging_outputs: list) -> None:
    """Log of training passes over sentences what compares with the log of a plain run.

    Names in the log:
        ``plain_loss``: what ``loss`` is in a plain run: the mean of the views, of the sentences
            with a label, in bits (squared errors too, as fairseq logs them).
        ``accuracy``: in percent, of the sentences with a label, over all views.
    """
    n_labelled, loss = (
        sum(log.get(key, 0) for log in logging_outputs) for key in ("n_labelled", "nll_loss")
    )
    if not n_labelled:
        return
    metrics.log_scalar("plain_loss", loss / n_labelled / math.log(2), n_labelled, round=3)
    if any("n_correct" in log for log in logging_outputs):
        n_correct = sum(log.get("n_correct", 0) for log in logging_outputs)
        metrics.log_scalar("accuracy", 100 * n_correct / n_labelled, n_labelled, round=1)
