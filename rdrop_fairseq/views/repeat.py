"""R-Drop's own views: every sentence repeated, so that nothing but the dropout differs."""

from typing import Any

import torch

# Keys of a sample that hold one row per alignment link, not per sentence.
NOT_BATCH_FIRST = frozenset({"alignments", "align_weights"})


def repeat_sample(sample: dict, num_views: int = 2) -> dict:
    """Repeat every sentence of a sample, so that one pass of the model gives ``num_views`` views.

    The copies of a sentence are neighbours: row ``M * i + m`` is view ``m`` of sentence ``i``.
    Sentences sorted by length, which fairseq's LSTM encoder asks for, so stay sorted.

    Args:
        sample: what a fairseq task's data set collates. It is not changed.
        num_views: M, how many copies of each sentence.

    Returns:
        A new sample in which every tensor whose first dimension is the batch, ``(B, ...)``, is
        ``(M * B, ...)``, also inside dicts, lists and tuples. All else is the same object:
        ``None``, numbers (``ntokens`` stays that of one view), tensors of another length.
    """
    return _repeat_rows(sample, sample["target"].size(0), num_views)


def split_views(rows: torch.Tensor, num_views: int = 2) -> torch.Tensor:
    """The rows ``(M * B, ...)`` of a repeated sample by view: ``(M, B, ...)``. No copy is made."""
    return rows.unflatten(0, (-1, num_views)).transpose(0, 1)


def _repeat_rows(value: Any, batch_size: int, num_views: int) -> Any:
    if isinstance(value, torch.Tensor):
        if value.dim() > 0 and value.size(0) == batch_size:
            return value.repeat_interleave(num_views, dim=0)
        return value
    if isinstance(value, dict):
        repeated = {
            key: item if key in NOT_BATCH_FIRST else _repeat_rows(item, batch_size, num_views)
            for key, item in value.items()
        }
        return type(value)(repeated)
    if isinstance(value, (list, tuple)):
        items = [_repeat_rows(item, batch_size, num_views) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
