"""Token cutoff: some token embeddings of some rows are set to zero (SimCut, Gao et al. 2022)."""

import contextlib
from collections import defaultdict

import torch
from torch import Tensor


@contextlib.contextmanager
def cut_tokens(model: torch.nn.Module, probability: float, is_cut: Tensor):
    """In one pass of the model, set token embeddings to zero with a probability.

    The embeddings are those of ``embed_tokens``, before scale and position. The end of the source
    and the first position of the decoder's input are never cut.

    Args:
        probability: of each position; with 0 nothing happens.
        is_cut: ``(rows,)`` of bool, the rows of the pass that are cut.

    Raises:
        NotImplementedError: the model's decoder has no ``embed_tokens``.
    """
    with contextlib.ExitStack() as hooks:
        if probability > 0:
            for embedding, sides in embeddings(model).items():
                hook = _cut(probability, is_cut, sides)
                hooks.callback(embedding.register_forward_hook(hook).remove)
        yield


def embeddings(model: torch.nn.Module) -> dict:
    """The ``embed_tokens`` of a model, each with the sides it is called for, in their order."""
    sides = defaultdict(list)
    for side in ("encoder", "decoder"):
        embedding = getattr(getattr(model, side, None), "embed_tokens", None)
        if embedding is not None:
            sides[embedding].append(side)
    if not any("decoder" in found for found in sides.values()):
        raise NotImplementedError(
            "--view-cutoff needs a decoder with embed_tokens, and this model has none: train "
            "without it"
        )
    return sides


def _cut(probability: float, is_cut: Tensor, sides: list):
    """A forward hook for an embedding that is called once for each of the sides."""
    calls = iter(sides)

    def set_to_zero(embedding, inputs, output):
        tokens = inputs[0]
        kept = source_end(tokens, embedding.padding_idx)
        if next(calls) == "decoder":
            kept = torch.zeros_like(kept)
            kept[:, 0] = True
        chance = torch.rand(tokens.shape, device=tokens.device)
        cut = (chance < probability) & is_cut.to(tokens.device).unsqueeze(1) & ~kept
        return output.masked_fill(cut.unsqueeze(-1), 0)

    return set_to_zero


def source_end(tokens: Tensor, padding_idx: int) -> Tensor:
    """``(B, T)`` of bool: the last token of each row that is not padding, left or right."""
    is_token = tokens.ne(padding_idx)
    return is_token & is_token.flip(1).cumsum(1).flip(1).eq(1)
