"""Token cutoff: some token embeddings of some rows are set to zero (SimCut, Gao et al. 2022)."""

import contextlib
from collections import defaultdict

import torch
from torch import Tensor

from rdrop_fairseq.transfer import to_device


@contextlib.contextmanager
def cut_tokens(model: torch.nn.Module, probability: float, is_cut: Tensor):
    """In one pass of the model, set token embeddings to zero with a probability.

    The embeddings are those of ``embed_tokens``, before scale and position. The end of the source
    and the first token of the decoder's input are never cut.

    Args:
        probability: of each position; with 0 nothing happens.
        is_cut: ``(rows,)`` of bool, the rows of the pass that are cut.

    Raises:
        NotImplementedError: as :func:`embeddings`.
    """
    with contextlib.ExitStack() as hooks:
        if probability > 0:
            is_cut = to_device(is_cut, next(model.parameters()).device)
            for embedding, sides in embeddings(model).items():
                hook = _cut(probability, is_cut, sides)
                hooks.callback(embedding.register_forward_hook(hook).remove)
        yield


def embeddings(model: torch.nn.Module) -> dict:
    """The ``embed_tokens`` of a model, each with the sides it is called for, in their order.

    Raises:
        NotImplementedError: the decoder, or the encoder if there is one, has no ``embed_tokens``.
    """
    sides = defaultdict(list)
    for side in ("encoder", "decoder"):
        part = getattr(model, side, None)
        embedding = getattr(part, "embed_tokens", None)
        if embedding is not None:
            sides[embedding].append(side)
        elif part is not None or side == "decoder":
            raise NotImplementedError(
                f"--view-cutoff cuts token embeddings, and the {side} of this model has no "
                "embed_tokens: train with --view-cutoff 0"
            )
    return sides


def _cut(probability: float, is_cut: Tensor, sides: list):
    """A forward hook for an embedding that serves the sides one after the other."""
    sides = list(sides)

    def set_to_zero(embedding, inputs, output):
        side = sides.pop(0) if len(sides) > 1 else sides[0]
        protected = source_end if side == "encoder" else first_token
        is_token = inputs[0].ne(embedding.padding_idx)
        chance = torch.rand(is_token.shape, device=is_token.device)
        cut = (chance < probability) & is_token & ~protected(is_token)
        cut &= is_cut.unsqueeze(1)
        return output.masked_fill(cut.unsqueeze(-1), 0)

    return set_to_zero


def first_token(mask: Tensor) -> Tensor:
    """``(B, T)`` of bool: the first position of each row where the mask is true."""
    return mask & mask.cumsum(1).eq(1)


def source_end(mask: Tensor) -> Tensor:
    """``(B, T)`` of bool: the last such position, with padding on the left or on the right."""
    return first_token(mask.flip(1)).flip(1)
