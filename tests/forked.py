"""fairseq's programs, each in a fork of one process that has imported fairseq but not the plugin.

Importing fairseq takes seconds, a small program of it a fraction of one.
"""

import importlib
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

MODULES = {
    f"fairseq-{name}": f"fairseq_cli.{name.replace('-', '_')}"
    for name in ("preprocess", "train", "generate", "interactive", "validate", "eval-lm")
}
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(list(MODULES.values()))


def run(name, *arguments, stdin=b""):
    """Run ``fairseq-...`` as its command line does; return its exit ``status`` and ``output``."""
    with tempfile.TemporaryDirectory() as folder:
        given, output = Path(folder, "given"), Path(folder, "output")
        given.write_bytes(stdin)
        words = [str(word) for word in (name, *arguments)]
        process = _context.Process(target=_main, args=(words, given, output))
        process.start()
        process.join()
        text = output.read_text("utf-8", "replace")
    return SimpleNamespace(status=process.exitcode, output=text)


def _main(words, given, output):
    sys.argv = words
    module = importlib.import_module(MODULES[words[0]])
    with open(given, encoding="utf-8") as sys.stdin, open(output, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        module.cli_main()
