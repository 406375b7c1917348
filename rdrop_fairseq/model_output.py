"""How a fairseq model comes from features to logits and probabilities, found out from its parts.

fairseq is imported where it is needed, since importing it registers the criteria, which need this.
"""

import inspect
from typing import Optional

import torch

from rdrop_fairseq.wrappers import inside_wrappers, with_visible_weights


def linear_projection(model: torch.nn.Module) -> Optional[torch.nn.Linear]:
    """The linear layer that turns ``model(..., features_only=True)`` into logits, if it has one.

    Args:
        model: a fairseq model, as it is or in fairseq's wrapper for distributed training.

    Returns:
        The projection, tied or not; or ``None`` when only the model itself can make its logits:
        no ``features_only``, an output layer of another kind, probabilities of its own, hooks that
        would miss the logits, weights that are sharded or whose use outside ``forward``
        DistributedDataParallel would not see.
    """
    from fairseq.models.transformer import TransformerDecoderBase

    inner = with_visible_weights(model)
    decoder = getattr(inner, "decoder", None)
    if inner is None or not isinstance(decoder, TransformerDecoderBase):
        return None
    projection = decoder.output_projection
    base = TransformerDecoderBase
    plain = (
        type(projection) is torch.nn.Linear
        and type(decoder).output_layer is base.output_layer
        and type(decoder).forward is base.forward
        and not has_own_probabilities(inner)
        and not any(has_hooks(module) for module in (inner, decoder, projection))
    )
    return projection if plain and takes_features_only(inner) else None


def has_own_probabilities(model: torch.nn.Module) -> bool:
    """Whether code from outside fairseq, whose own is softmax, turns outputs into probabilities."""
    inner = inside_wrappers(model)
    makers = [
        getattr(type(part), name, None)
        for part in (inner, getattr(inner, "decoder", None))
        for name in ("get_normalized_probs", "get_normalized_probs_scriptable")
    ]
    return any(make and not make.__module__.startswith("fairseq.") for make in makers)


def has_hooks(module: torch.nn.Module) -> bool:
    """Whether anything waits for the input, the output or the gradient of ``module``."""
    forward = module._forward_hooks or module._forward_pre_hooks
    return bool(forward or module._backward_hooks or module._backward_pre_hooks)


def takes_features_only(model: torch.nn.Module) -> bool:
    """Whether ``model(features_only=True)`` gives features.

    Only a language model hands ``**kwargs`` to its decoder alone; others also to their encoder.
    """
    from fairseq.models import FairseqLanguageModel

    forward = type(model).forward
    named = "features_only" in inspect.signature(forward).parameters
    return named or forward is FairseqLanguageModel.forward
