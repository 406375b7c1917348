"""R-Drop's own views: sentences repeated, so that one pass of the model gives several views."""

from typing import Any, Callable, NamedTuple, Optional, Union

import torch
from torch import Tensor

from rdrop_fairseq.noise import dropouts
from rdrop_fairseq.transfer import to_device
from rdrop_fairseq.views.cutoff import cut_tokens, embeddings
from rdrop_fairseq.wrappers import inside_wrappers

# Keys of a sample that hold one row per alignment link, not per sentence.
NOT_BATCH_FIRST = frozenset({"alignments", "align_weights"})


class Group(NamedTuple):
    """Sentences of a sample that have equally many views."""

    sentences: Union[slice, Tensor]
    """Which: an index of the batch, on the device of the output."""
    output: Tensor
    """``(M, b, T, ...)``, what the model's head gives for each view of them."""


class RepeatedViews:
    """Views that differ by their dropout masks and, all but the first, by token cutoff."""

    def __init__(self, num_views: int, cutoff: float):
        self.num_views = num_views
        self.cutoff = cutoff

    @property
    def are_alike(self) -> bool:
        """Whether only chance tells the views apart, so that one can stand for another."""
        return self.cutoff == 0

    def can_differ(self, model: torch.nn.Module) -> bool:
        """Whether this model can give views that are not all the same."""
        return self.cutoff > 0 or bool(dropouts(model))

    def check(self, model: torch.nn.Module, share: float) -> None:
        """Refuse a model that cannot have these views for a share of the sentences.

        It may be in fairseq's wrappers for distributed training.

        Raises:
            NotImplementedError: with what to do.
        """
        if self.cutoff > 0:
            embeddings(inside_wrappers(model))

    def groups(self, model, run: Callable, sample: dict, chosen: Optional[Tensor]) -> list:
        """The views of a sample, in one pass of the model.

        Args:
            model: the fairseq model.
            run: from a sample to what the model's head gives, ``(rows, T, ...)``.
            sample: what the trainer gives; it is not changed.
            chosen: ``(B,)`` of bool, the sentences with several views; ``None`` for all.

        Returns:
            A list of one or two :class:`Group`, in no order: the sentences with several views, and
            those with one.
        """
        every = torch.ones(len(sample["target"]), dtype=torch.bool)
        has_several = every if chosen is None else chosen
        views = 1 + (self.num_views - 1) * has_several.long()  # of each sentence
        first_row = views.cumsum(0) - views
        is_cut = torch.ones(int(views.sum()), dtype=torch.bool).index_fill(0, first_row, False)
        repeated = repeat_sample(sample, self.num_views if chosen is None else views)
        with cut_tokens(model, self.cutoff, is_cut):
            rows = run(repeated)
        if chosen is None:
            return [Group(slice(None), split_views(rows, self.num_views))]
        many, one = chosen.nonzero().squeeze(1), (~chosen).nonzero().squeeze(1)
        rows_of_many = first_row[many] + torch.arange(self.num_views).unsqueeze(1)
        places = [(many, rows_of_many), (one, first_row[one].unsqueeze(0))]
        on_device = [
            [to_device(index, rows.device) for index in of_group]
            for of_group in places
            if len(of_group[0])
        ]
        return [Group(sentences, rows[of_views]) for sentences, of_views in on_device]


def choose_sentences(batch_size: int, share: float) -> Optional[Tensor]:
    """``(B,)`` of bool: each sentence with probability ``share``, nearly equally many each time.

    ``None`` stands for all of them, without a random number drawn.
    """
    if share == 1:
        return None
    count = int(share * batch_size + torch.rand(()).item())
    chosen = torch.zeros(batch_size, dtype=torch.bool)
    chosen[torch.randperm(batch_size)[:count]] = True
    return chosen


def repeat_sample(sample: dict, repeats: Union[int, Tensor] = 2) -> dict:
    """Repeat the sentences of a sample.

    The copies of a sentence are neighbours: with ``M`` copies of each, row ``M * i + m`` is view
    ``m`` of sentence ``i``. Sentences sorted by length, which fairseq's LSTM encoder asks for, so
    stay sorted.

    Args:
        sample: what a fairseq task's data set collates. It is not changed.
        repeats: how many copies of each sentence, or ``(B,)`` of numbers of copies, on the host.

    Returns:
        A new sample in which every tensor whose first dimension is the batch, ``(B, ...)``, is
        ``(B * M, ...)``, also inside dicts, lists and tuples. All else is the same object:
        ``None``, numbers (``ntokens`` stays that of one view), tensors of another length.
    """
    target = sample["target"]
    if isinstance(repeats, Tensor):
        repeats = to_device(torch.arange(len(target)).repeat_interleave(repeats), target.device)
    return _repeat_rows(sample, len(target), repeats)


def split_views(rows: Tensor, num_views: int = 2) -> Tensor:
    """The rows ``(B * M, ...)`` of a repeated sample by view: ``(M, B, ...)``. No copy is made."""
    return rows.unflatten(0, (-1, num_views)).transpose(0, 1)


def _repeat_rows(value: Any, batch_size: int, repeats: Union[int, Tensor]) -> Any:
    """``repeats`` is a number of copies, or which rows there are in the result."""
    if isinstance(value, Tensor):
        if value.dim() == 0 or value.size(0) != batch_size:
            return value
        if isinstance(repeats, int):
            return value.repeat_interleave(repeats, dim=0)
        return value[repeats.to(value.device)]
    if isinstance(value, dict):
        repeated = {
            key: item if key in NOT_BATCH_FIRST else _repeat_rows(item, batch_size, repeats)
            for key, item in value.items()
        }
        return type(value)(repeated)
    if isinstance(value, (list, tuple)):
        items = [_repeat_rows(item, batch_size, repeats) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
