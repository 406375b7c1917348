"""Counts what would make the host wait for a GPU, on any device.

Tensors that exist before, and what is computed from them, count as on the GPU; those that are made
without a device, and what is computed from them alone, as on the host, where nothing waits.
"""

import traceback

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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
NEW = {
    *(torch.arange, torch.empty, torch.eye, torch.full, torch.linspace, torch.ones, torch.zeros),
    *(torch.rand, torch.randint, torch.randn, torch.randperm),
    *(torch.tensor, torch.as_tensor, torch.from_numpy),  # from numbers that the host has
}
TO_THE_DEVICE = {torch.Tensor.to, torch.Tensor.type_as, torch.Tensor.cuda}
TO_THE_HOST = {torch.Tensor.tolist, torch.Tensor.cpu, torch.Tensor.numpy}


class Waits(TorchDispatchMode):
    """``with Waits() as waits:`` gathers ``(what, where)`` for each time the host would wait."""

    def __init__(self):
        super().__init__()
        self.found = []
        self._of_host = {}  # by number: kept alive, so that no other tensor gets the number
        self._calls = _Calls(self)

    def __enter__(self):
        self._calls.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._calls.__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        inputs = tensors(args, kwargs)
        if inputs and all(map(self.is_on_host, inputs)):
            return self.on_host(function(*args, **kwargs))
        if what := _what(function, args, kwargs):
            self.add(what)
        elif function in INDEXING and self.is_index_from_host(args[0], args[1]):
            self.add("index from the host")
        elif function is aten.copy_.default and self.is_on_host(args[1]):
            self.add("copy")
        return function(*args, **kwargs)

    def add(self, what: str) -> None:
        """One more wait, here."""
        self.found.append((what, _where()))

    def is_on_host(self, tensor) -> bool:
        """Whether the host can read it without waiting."""
        return id(tensor) in self._of_host

    def is_index_from_host(self, tensor, index) -> bool:
        """Whether an index has to go to the tensor's device."""
        return not self.is_on_host(tensor) and any(map(self.is_on_host, tensors(index)))

    def on_host(self, result):
        """What the host has made."""
        self._of_host.update((id(tensor), tensor) for tensor in tensors(result))
        return result

    def on_device(self, tensor):
        """A copy on the device of what the host has made."""
        copy = tensor.clone()
        self._of_host.pop(id(copy), None)
        return copy


class _Calls(TorchFunctionMode):
    """What no operator shows: new tensors, and copies to the device and to the host."""

    def __init__(self, waits: Waits):
        super().__init__()
        self.waits = waits

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if function in NEW:
            return self.new(function, result, kwargs)
        from_host = bool(args) and self.waits.is_on_host(args[0])
        if function in TO_THE_DEVICE and from_host and _names_device(args[1:], kwargs):
            if not kwargs.get("non_blocking"):
                self.waits.add(function.__name__)
            return self.waits.on_device(result)
        of_list = function is torch.Tensor.__getitem__ and isinstance(args[1], list)
        if function is torch.Tensor.new_tensor or (
            (function in TO_THE_HOST or of_list) and not from_host
        ):
            self.waits.add(function.__name__)
        return result

    def new(self, function, result, kwargs):
        """On the host, or on the device, where numbers of the host are waited for."""
        if kwargs.get("device") is None:
            return self.waits.on_host(result)
        if function in (torch.tensor, torch.as_tensor):
            self.waits.add(function.__name__)
        return result


def tensors(*values) -> list:
    """The tensors among values, also inside lists and dicts."""
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]


def _names_device(args, kwargs):
    kinds = (torch.device, torch.Tensor, str)
    return any(isinstance(value, kinds) for value in (*args, *kwargs.values()))


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
