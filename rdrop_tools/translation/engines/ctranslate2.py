"""Searches with CTranslate2, in a model that scripts/export_ctranslate2.py made."""

from rdrop_tools.extras import load
from rdrop_tools.translation.engines import Hypothesis
from rdrop_tools.translation.folder import TranslationError, first_line


class CTranslate2Engine:
    """An exported model."""

    def __init__(self, files, search, cpu=False, threads=0):
        self._search = search
        Translator = load("ctranslate2").Translator
        device = "cpu" if cpu else "auto"
        try:
            self._translator = Translator(str(files.path), device=device, intra_threads=threads)
        except (RuntimeError, ValueError) as error:
            raise TranslationError(f"{files.path} was not loaded: {first_line(error)}") from error
        noted = files.manifest["ctranslate2"]
        self.source, self.target = noted["source"], noted["target"]
        self.longest, self._longest_target = noted["longest_source"], noted["longest_target"]

    def translate(self, batch, limit):
        """Return the hypotheses of each sentence of a batch, of at most `limit` subwords."""
        found = self._translator.translate_batch(
            batch,
            beam_size=self._search.beam,
            num_hypotheses=self._search.n_best,
            length_penalty=self._search.lenpen,
            max_input_length=0,
            max_decoding_length=min(limit, self._longest_target),
            return_scores=True,
        )
        return [[*map(Hypothesis, one.scores, one.hypotheses)] for one in found]
