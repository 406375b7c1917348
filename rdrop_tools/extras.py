"""Packages that only some programs need: those of the extras in setup.py, loaded when used."""

import importlib

EXTRAS = {
    "ctranslate2": "ctranslate2",
    "matplotlib": "plots",
    "rouge_score": "rouge",
    "sacremoses": "corpus",
    "subword_nmt": "corpus",
    "tqdm": "corpus",
}


class MissingPackage(Exception):
    """Such a package is not installed: what to do, in a sentence for the user."""


def load(module):
    """Return a module of one of the packages, as in ``load("matplotlib.pyplot")``.

    Raises:
        MissingPackage: it cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        install = f"pip install 'rdrop_fairseq[{EXTRAS[package]}]'"
        raise MissingPackage(f"needs {package.replace('_', '-')}: run {install}.") from error
