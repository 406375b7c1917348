"""Counts what would make the host wait for a GPU, on any device."""

import traceback

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
ALWAYS = {
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten._local_scalar_dense.default: "item",
    aten.is_nonzero.default: "if tensor",
    aten.equal.default: "equal",
    aten._unique2.default: "unique",
    aten.unique_consecutive.default: "unique",
}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
# A copy of numbers to the device, which is waited for unless the memory is pinned.
FROM_NUMBERS = {torch.tensor, torch.as_tensor, torch.Tensor.new_tensor, torch.from_numpy}


class Waits(TorchDispatchMode):
    """``with Waits() as waits:`` gathers ``(what, where)`` for each time the host would wait."""

    def __init__(self):
        super().__init__()
        self.found = []
        self._copies = _Copies(self.found)

    def __enter__(self):
        self._copies.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._copies.__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if what := _what(function, args, kwargs or {}):
            self.found.append((what, _where()))
        return function(*args, **(kwargs or {}))


class _Copies(TorchFunctionMode):
    """Copies to the device, and ``tolist``, which no operator shows."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in FROM_NUMBERS or function is torch.Tensor.tolist:
            self.found.append((function.__name__, _where()))
        return function(*args, **(kwargs or {}))


def _what(function, args, kwargs):
    if function in INDEXING:
        by_mask = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        return "boolean index" if by_mask else None
    if function is aten.repeat_interleave.Tensor:
        return None if kwargs.get("output_size") else "repeat_interleave"
    return ALWAYS.get(function)


def _where():
    """The innermost lines of code that belong to neither PyTorch nor this file."""
    frames = [
        frame
        for frame in traceback.extract_stack()
        if "/torch/" not in frame.filename and frame.filename != __file__
    ]
    return " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-4:]))
