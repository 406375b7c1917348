"""The manifest next to a result: from what, how and with which versions it was made."""

import contextlib
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

NAME = "manifest.json"


def versions(*packages):
    """Return the versions of Python and of the packages."""
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in packages},
    }


def fairseq():
    """Return the name and the version of the package that fairseq comes from."""
    for name in ("fairseq", "ve-fairseq", "fairseq-fixed"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            return f"{name} {metadata.version(name)}"
    return ""


def commit():
    """Return the commit of the checkout that this is in, shortened; nothing where it is in none.

    It ends with `-dirty` where files differ from that commit.
    """
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists():  # git would look for one further up
        return ""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--exclude=*"]
    elsewhere = {"GIT_DIR", "GIT_WORK_TREE"}  # in a hook of git these would win
    environment = {name: value for name, value in os.environ.items() if name not in elsewhere}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment
        ).stdout.strip()
    except FileNotFoundError:  # no git
        return ""


def read(folder):
    """Return the manifest in a folder, a dictionary; an empty one where there is none.

    Raises ValueError, in a sentence for the user, if it is damaged.
    """
    path = folder / NAME
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): remove its folder and make it again."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a manifest: remove its folder and make it again.")
    return content


def write(folder, content):
    """Write a manifest into a folder."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")
