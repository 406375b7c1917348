"""How many tokens the fused loss works on at a time."""

from typing import Optional

import torch

MIB = 2**20
# Memory for the logits of a chunk. On a CPU, measured: less slows the matrix products down, more
# only costs memory. On a GPU, computed and not measured: the sum of the weight's gradients is read
# and written once a chunk, which some thousand rows make up for, and a chunk has no more than a
# part of the memory that is free.
CPU_CHUNK_MIB, GPU_CHUNK_MIB = 64, 1024
SHARE_OF_FREE_MEMORY = 1 / 4
# How many logits the elementwise part takes at a time in plain PyTorch, with some temporaries of
# their size. On a CPU, measured: few enough to stay in its cache. On a GPU, not measured: enough
# to keep it busy for longer than the launch of an operation takes.
CPU_BLOCK_ELEMENTS, GPU_BLOCK_ELEMENTS = 2**18, 2**24


def tokens_in_a_chunk(
    num_views: int,
    classes: int,
    width: int,
    dtype: torch.dtype,
    device: torch.device,
    budget: Optional[int] = None,
) -> int:
    """Target tokens whose logits fit, with what else a chunk holds, within a budget.

    Args:
        num_views: M.
        classes: V.
        width: H, of the features.
        dtype: of the products; in half precision the gradient of the logits is held in it, too.
        device: of the features.
        budget: in MiB; by default what suits the device. On a GPU never more than a share of the
            memory that is free.
    """
    bits = torch.finfo(dtype).bits
    bytes_per_logit = (bits if bits >= 32 else 32 + bits) // 8
    bytes_per_feature = bytes_per_logit  # the operand, and its gradient in float32
    bytes_per_token = num_views * (classes * bytes_per_logit + width * bytes_per_feature)
    memory = (budget or (CPU_CHUNK_MIB if device.type == "cpu" else GPU_CHUNK_MIB)) * MIB
    if device.type == "cuda":
        memory = min(memory, int(free_memory(device) * SHARE_OF_FREE_MEMORY))
    return max(1, memory // bytes_per_token)


def free_memory(device: torch.device) -> int:
    """Bytes of a GPU that PyTorch has in reserve or could still get."""
    reserve = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + reserve


def blocks(tokens: int, logits_per_token: int, device: torch.device) -> list:
    """Slices of tokens for the elementwise part."""
    elements = CPU_BLOCK_ELEMENTS if device.type == "cpu" else GPU_BLOCK_ELEMENTS
    return slices(tokens, elements // logits_per_token)


def slices(tokens: int, size: int) -> list:
    """Slices over the tokens, at most ``size`` long and of nearly equal length."""
    count = -(-tokens // max(size, 1))
    bounds = [tokens * number // count for number in range(count + 1)] if count else []
    return [slice(start, end) for start, end in zip(bounds, bounds[1:])]
