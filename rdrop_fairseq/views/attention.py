"""Hooks on fairseq's ``MultiheadAttention``: see the attention of a pass, or mask it.

All is done from outside, and undone afterwards.
"""

import contextlib
import inspect
import math
from functools import partial
from typing import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

LEAST_VISIBLE = -5e3  # fairseq's masks add minus infinity, -1e8, or -1e4 in half precision


@contextlib.contextmanager
def unfused_attention(layers: list):
    """Let the layers compute their attention in fairseq's code, not in PyTorch's fused one."""
    with contextlib.ExitStack() as restore:
        for layer in layers:
            restore.callback(setattr, layer, "skip_embed_dim_check", layer.skip_embed_dim_check)
            layer.skip_embed_dim_check = True
        yield


@contextlib.contextmanager
def record_attention(layers: list, scale: float = 1.0):
    """Yield a dict that a pass fills: ``{layer: (B * H, T, S)}``, probabilities before dropout.

    They are multiplied by ``scale``, and part of the graph of the pass.
    """
    seen = {}

    def see(layer, dropout, inputs):
        if layer in seen:
            raise NotImplementedError("AD-DROP needs layers that do not share their attention")
        attention = inputs[0] if scale == 1 else inputs[0] * scale
        if not attention.requires_grad:  # all below is frozen
            attention = attention.detach().requires_grad_()
        seen[layer] = attention
        return (attention, *inputs[1:])

    with unfused_attention(layers), contextlib.ExitStack() as hooks:
        for layer in layers:
            hook = layer.dropout_module.register_forward_pre_hook(partial(see, layer))
            hooks.callback(hook.remove)
        yield seen


@contextlib.contextmanager
def mask_attention(layer: torch.nn.Module, make_mask: Callable):
    """Set the logits of a layer to minus infinity where a mask is false.

    Before the softmax, so that a row whose other probabilities are tiny keeps a gradient that half
    precision can hold. ``apply_sparse_mask`` is fairseq's own place for that.

    Args:
        layer: on fairseq's own path.
        make_mask: ``make_mask(shape, is_key, device)`` gives the mask, of ``shape``
            ``(B, H, T, S)``; ``is_key`` is bool and broadcasts to it.
    """
    keys = []

    def see_keys(layer, args, kwargs):
        call = inspect.signature(layer.forward).bind(*args, **kwargs).arguments
        keys[:] = [call.get("key_padding_mask"), call.get("attn_mask")]

    def apply_sparse_mask(logits, tgt_len, src_len, bsz):
        logits = type(layer).apply_sparse_mask(layer, logits, tgt_len, src_len, bsz)
        shape = (bsz, layer.num_heads, tgt_len, src_len)
        kept = make_mask(shape, visible_keys(*keys, shape, logits.device), logits.device)
        return logits.masked_fill(~kept.view_as(logits), -math.inf)

    hook = layer.register_forward_pre_hook(see_keys, with_kwargs=True)
    layer.apply_sparse_mask = apply_sparse_mask
    try:
        yield
    finally:
        del layer.apply_sparse_mask
        hook.remove()


def visible_keys(padding_mask, attn_mask, shape: tuple, device) -> Tensor:
    """Which keys a query can attend to: ``(B or 1, 1, T or 1, S)`` of bool.

    Args:
        padding_mask: ``(B, S)``, true on padding, or ``None``.
        attn_mask: ``(T, S)``, added to the logits, or ``None``.
        shape: ``(B, H, T, S)``, whose ``S`` also counts what fairseq appends (``add_zero_attn``).
    """
    keys = torch.ones(1, 1, 1, shape[-1], dtype=torch.bool, device=device)
    if padding_mask is not None:
        is_padding = pad(padding_mask.bool(), (0, shape[-1] - padding_mask.size(1)))
        keys = keys & ~is_padding[:, None, None]
    if attn_mask is not None:
        keys = keys & (pad(attn_mask, (0, shape[-1] - attn_mask.size(1))) > LEAST_VISIBLE)
    return keys
