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


def without_excess(logits, target, coefficients):
    """The gradient without the ``p_i (e_i - <p_i, e_i>)`` of the KL."""
    probs, excess, kl = _parts_of_kl(logits, coefficients)
    result = EXACT(logits, target, coefficients)
    logits -= coefficients.alpha * probs * (excess - kl)
    return result


def without_mean_excess(logits, target, coefficients):
    """The gradient without the ``p_i <p_i, e_i>`` of the KL."""
    probs, _, kl = _parts_of_kl(logits, coefficients)
    result = EXACT(logits, target, coefficients)
    logits += coefficients.alpha * probs * kl
    return result


def _parts_of_kl(logits, coefficients):
    """``p_i``, ``e_i`` and ``<p_i, e_i>``, as in the derivation."""
    log_probs = logits.log_softmax(-1)
    between = log_probs.unsqueeze(1) - log_probs
    excess = (coefficients.kl[:, :, None, None] * between).sum(1)
    probs = log_probs.exp()
    return probs, excess, (probs * excess).sum(-1, keepdim=True)


def without_smoothing(logits, target, coefficients):
    """The gradient without label smoothing."""
    result = EXACT(logits.clone(), target, coefficients)
    EXACT(logits, target, coefficients._replace(label_smoothing=0.0))
    return result


DROPPED_TERMS = (without_p_minus_q, without_excess, without_mean_excess, without_smoothing)


def use_kernel(monkeypatch, replacement) -> None:
    """Have the fused losses call another function than ``loss_and_gradient_``."""
    for module in (of_features, of_logits):
        monkeypatch.setattr(module, "loss_and_gradient_", replacement)
