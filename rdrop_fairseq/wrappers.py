"""The model inside fairseq's wrappers for distributed training."""

from typing import Optional

import torch

SHARDED = "FullyShardedDataParallel"
WRAPPERS = {
    SHARDED,
    "DistributedDataParallel",
    "DistributedTimeoutWrapper",
    "LegacyDistributedDataParallel",
    "ModuleProxyWrapper",
    "SlowMoDistributedDataParallel",
}


def inside_wrappers(model: torch.nn.Module) -> torch.nn.Module:
    """The model inside its wrappers."""
    return _unwrapped(model)[-1]


def with_visible_weights(model: torch.nn.Module) -> Optional[torch.nn.Module]:
    """The model inside its wrappers, or ``None`` if one of them hides its weights.

    Those are sharded, or used outside ``forward`` without DistributedDataParallel's knowledge.
    """
    *wrappers, inner = _unwrapped(model)
    hidden = any(_shards(wrapper) or _seeks_unused(wrapper) for wrapper in wrappers)
    return None if hidden else inner


def whole_model(model: torch.nn.Module) -> torch.nn.Module:
    """The model inside its wrappers, for the first pass of AD-DROP, which they must not see.

    Raises:
        NotImplementedError: the weights are sharded, and only the wrapper can make a pass.
    """
    if is_sharded(model):
        raise NotImplementedError(
            "AD-DROP needs a pass of the whole model, which --ddp-backend fully_sharded does "
            "not give: train with another backend"
        )
    return inside_wrappers(model)


def is_sharded(model: torch.nn.Module) -> bool:
    """Whether its weights are spread over the ranks, which then make all passes together."""
    return any(map(_shards, _unwrapped(model)))


def seeks_unused_parameters(model: torch.nn.Module) -> bool:
    """Whether DistributedDataParallel looks for parameters that its latest pass did not use."""
    return any(map(_seeks_unused, _unwrapped(model)))


def _unwrapped(model: torch.nn.Module) -> list:
    """The wrappers from the outermost on, and the model in them."""
    found = [model]
    while type(found[-1]).__name__ in WRAPPERS:
        found.append(found[-1].module)
    return found


def _shards(wrapper: torch.nn.Module) -> bool:
    return type(wrapper).__name__ == SHARDED


def _seeks_unused(wrapper: torch.nn.Module) -> bool:
    return getattr(wrapper, "find_unused_parameters", False) is True
