"""The fused gradient with a term left out: every test of the loss must notice it."""

import itertools

from rdrop_fairseq.losses import kernel, of_features, of_logits

EXACT = kernel.loss_and_gradient_


def without_p_minus_q(logits, target, coefficients):
    """The gradient without the ``sum_j b_ji (p_i - p_j)`` of the KL."""
    probs = logits.softmax(-1)
    result = EXACT(logits, target, coefficients)
    for i, j in itertools.permutations(range(len(probs)), 2):
        logits[i] -= coefficients.alpha * coefficients.kl[j, i] * (probs[i] - probs[j])
    return result


def without_smoothing(logits, target, coefficients):
    """The gradient without label smoothing."""
    result = EXACT(logits.clone(), target, coefficients)
    EXACT(logits, target, coefficients._replace(label_smoothing=0.0))
    return result


DROPPED_TERMS = (without_p_minus_q, without_smoothing)


def use_kernel(monkeypatch, replacement) -> None:
    """Have the fused losses call another function than ``loss_and_gradient_``."""
    for module in (of_features, of_logits):
        monkeypatch.setattr(module, "loss_and_gradient_", replacement)
