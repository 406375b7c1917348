"""The way of small tensors from the host to the device."""

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on another device, for whose copy the host does not wait.

    From pinned memory: a copy from other memory is waited for, whatever ``non_blocking`` says.
    """
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
