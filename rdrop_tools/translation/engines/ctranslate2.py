"""Searches with CTranslate2, in a model that scripts/export_ctranslate2.py made."""

from rdrop_tools.translation.engines import Hypothesis
from rdrop_tools.translation.folder import TranslationError


class CTranslate2Engine:
    """An exported model."""

    def __init__(self, model, search, cpu=False, threads=0):
        self._search = search
        try:
            from ctranslate2 import Translator
        except ImportError as error:
            raise TranslationError(
                f"{model.path} needs CTranslate2: pip install 'rdrop_fairseq[ctranslate2]'."
            ) from error
        device = "cpu" if cpu else "auto"
        try:
            self._translator = Translator(str(model.path), device=device, intra_threads=threads)
        except (RuntimeError, ValueError) as error:
            raise TranslationError(
                f"{model.path} was not loaded: {str(error).partition(chr(10))[0]}"
            ) from error
        noted = model.manifest["ctranslate2"]
        self.source, self.target = noted["source"], noted["target"]

    def translate(self, batch, limit):
        """Return the hypotheses of each sentence of a batch, of at most `limit` subwords."""
        found = self._translator.translate_batch(
            batch,
            beam_size=self._search.beam,
            num_hypotheses=self._search.n_best,
            length_penalty=self._search.lenpen,
            max_input_length=0,
            max_decoding_length=limit,
            return_scores=True,
        )
        return [[*map(Hypothesis, one.scores, one.hypotheses)] for one in found]
