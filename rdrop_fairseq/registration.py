"""Registering the plugin with fairseq once that is imported, and never importing it for that.

A loss needs PyTorch alone, but ``from rdrop_fairseq.losses...`` runs ``rdrop_fairseq/__init__.py``
too. fairseq takes seconds to import, and it may be broken where only a loss is wanted.
"""

import functools
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec


@functools.cache
def register() -> None:
    """Register the criteria with fairseq and patch it, once in a process."""
    from rdrop_fairseq import criterions  # noqa: F401
    from rdrop_fairseq.compat.checkpoints import allow_checkpoint_types
    from rdrop_fairseq.compat.patches import apply_patches

    allow_checkpoint_types()
    apply_patches()


def register_with_fairseq() -> None:
    """Register now if fairseq is imported (as for ``--user-dir``), else at the end of its import.

    Its import may already have begun: in another thread, or a file of fairseq uses a loss.
    """
    fairseq = sys.modules.get("fairseq")
    if fairseq is None:
        sys.meta_path.insert(0, FairseqFinder())
    elif getattr(fairseq.__spec__, "_initializing", False):
        fairseq.__spec__.__class__ = RegisteringSpec
    else:
        register()


class FairseqFinder(MetaPathFinder):
    """Finds fairseq where the other finders do, and has the plugin registered after its import."""

    def find_spec(self, name, path=None, target=None):
        """The specification of fairseq; ``None`` for every other module."""
        if name != "fairseq":
            return None
        others = sys.meta_path[sys.meta_path.index(self) + 1 :]
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, specs), None)
        if spec is not None and spec.has_location:  # else some folder that is called fairseq
            spec.__class__ = RegisteringSpec
        return spec


class RegisteringSpec(ModuleSpec):
    """The specification of fairseq: Python tells it when the import of fairseq begins and ends.

    To tell it, every version of Python sets ``_initializing``. To wrap the loader's ``exec_module``
    would not help when the import has already begun.
    """

    def __setattr__(self, name, value):
        ends = name == "_initializing" and not value
        if ends and "fairseq" in sys.modules:  # after an error it is not
            sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, FairseqFinder)]
            register()
        super().__setattr__(name, value)
