"""Whether a fairseq model can give features and leave its output projection to the loss."""

import inspect
from typing import Optional

import torch
from fairseq.models.transformer import TransformerDecoderBase


def linear_projection(model: torch.nn.Module) -> Optional[torch.nn.Linear]:
    """The linear layer that turns ``model(..., features_only=True)`` into logits, if it has one.

    Args:
        model: a fairseq model, as it is or in fairseq's wrapper for distributed training.

    Returns:
        The projection, tied or not; or ``None`` when only the model itself can make its logits:
        no ``features_only``, an output layer of another kind, hooks on the projection, weights that
        are sharded or whose use outside ``forward`` DistributedDataParallel would not see.
    """
    inner = unwrapped(model)
    decoder = getattr(inner, "decoder", None)
    if inner is None or not isinstance(decoder, TransformerDecoderBase):
        return None
    projection = decoder.output_projection
    plain = (
        type(projection) is torch.nn.Linear
        and type(decoder).output_layer is TransformerDecoderBase.output_layer
        and not (projection._forward_hooks or projection._forward_pre_hooks)
        and not (projection._backward_hooks or projection._backward_pre_hooks)
    )
    gives_features = takes_features_only(inner.forward) and takes_features_only(decoder.forward)
    return projection if plain and gives_features else None


def unwrapped(model: torch.nn.Module) -> Optional[torch.nn.Module]:
    """The model inside fairseq's wrappers, or ``None`` if one of them hides its weights."""
    replicas = {"ModuleProxyWrapper", "LegacyDistributedDataParallel", "DistributedDataParallel"}
    while type(model).__name__ in replicas | {"DistributedTimeoutWrapper"}:
        if getattr(model, "find_unused_parameters", False) is True:
            return None
        model = model.module
    return None if type(model).__name__ == "FullyShardedDataParallel" else model


def takes_features_only(function) -> bool:
    """Whether ``function(features_only=True)`` can be called, by name or through ``**kwargs``."""
    parameters = inspect.signature(function).parameters.values()
    return any(p.name == "features_only" or p.kind is p.VAR_KEYWORD for p in parameters)
