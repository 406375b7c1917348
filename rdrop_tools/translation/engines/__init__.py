"""The engines that search for translations: fairseq, and CTranslate2 for exported models.

An engine is made of :class:`~rdrop_tools.translation.folder.ModelFiles` and a :class:`Search`. It
has the languages of its model, `source` and `target`, the most subwords that a sentence may have,
`longest`, and a method `translate`: from a batch, a list of lists of subwords, and the most
subwords that a translation may have, to a list for each sentence of its `n_best`
:class:`Hypothesis`, best first.
"""

from typing import NamedTuple


class Search(NamedTuple):
    """How to search for translations."""

    beam: int = 5
    n_best: int = 1
    lenpen: float = 1.0


class Hypothesis(NamedTuple):
    """A translation in subwords, and the logarithm of its probability / length ** lenpen."""

    score: float
    subwords: list


def load_engine(files, search, cpu=False, threads=0):
    """Return the engine of a model.

    Args:
        cpu: translate on the CPU, even where there is a GPU.
        threads: for the CPU; 0 leaves it to the engine.

    Raises:
        TranslationError: the model is damaged, or does not fit on the GPU.
        MissingPackage: the engine is not installed.
    """
    if files.engine == "fairseq":
        from rdrop_tools.translation.engines.fairseq import FairseqEngine

        return FairseqEngine(files, search, cpu, threads)
    from rdrop_tools.translation.engines.ctranslate2 import CTranslate2Engine

    return CTranslate2Engine(files, search, cpu, threads)
