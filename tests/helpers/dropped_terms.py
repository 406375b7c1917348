"""The fused gradient with a term left out: every test of the loss must notice it."""

import itertools

from rdrop_fairseq.losses import fused

EXACT = fused.loss_and_gradient_


def without_p_minus_q(logits, target, objective):
    """The gradient without the ``sum_j b_ji (p_i - p_j)`` of the KL."""
    probs = logits.softmax(-1)
    result = EXACT(logits, target, objective)
    for i, j in itertools.permutations(range(len(probs)), 2):
        logits[i] -= objective.alpha * objective.kl[j, i] * (probs[i] - probs[j])
    return result


def without_smoothing(logits, target, objective):
    """The gradient without label smoothing."""
    result = EXACT(logits.clone(), target, objective)
    EXACT(logits, target, objective._replace(label_smoothing=0.0))
    return result


DROPPED_TERMS = (without_p_minus_q, without_smoothing)
