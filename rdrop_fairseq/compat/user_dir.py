"""A ``--user-dir`` that is the plugin which is already imported."""

import functools
from pathlib import Path

PLUGIN_DIR = Path(__file__).resolve().parents[1]


def accept_imported_plugin(import_user_module):
    """fairseq refuses a ``--user-dir`` that spells the path of an imported package differently.

    A bare name, a symbolic link and its target, or a trailing ``/.`` all mean the plugin here.
    """

    @functools.wraps(import_user_module)
    def import_unless_this_plugin(args):
        user_dir = getattr(args, "user_dir", None)
        if user_dir is None or not is_this_plugin(Path(user_dir)):
            import_user_module(args)

    return import_unless_this_plugin


def is_this_plugin(user_dir: Path) -> bool:
    """Whether a ``--user-dir`` means the package that is being imported right now."""
    if user_dir.exists():
        return user_dir.samefile(PLUGIN_DIR)
    return str(user_dir) == PLUGIN_DIR.name
