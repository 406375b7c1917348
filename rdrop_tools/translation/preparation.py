"""From raw text to subwords, as the text of a training was prepared, and back."""

from rdrop_tools import manifest
from rdrop_tools.corpus.bpe import encoder
from rdrop_tools.corpus.tokenization import Tokenization
from rdrop_tools.scoring.detokenization import detokenizer
from rdrop_tools.scoring.output import ScoringError, join_subwords
from rdrop_tools.translation.folder import TranslationError

SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？")


class Preparation:
    """What was done to the training text of a model, and how its output becomes text again.

    Text of the benchmarks was tokenized as Moses does, normalised and lowercased where their
    manifest says so; text without such a manifest, the quickstart's, was left as it is.
    """

    def __init__(self, files, source, target):
        self._source = source
        self._method = files.method
        self._encode = encoder(files.method, files.subword_model)
        self._tokenization = _tokenization(files)
        try:
            self._detokenize = detokenizer(target) if self._tokenization else str
        except ScoringError as error:
            raise TranslationError(str(error)) from error

    def prepare(self, text):
        """Return the subwords of a line."""
        if self._tokenization:
            text = self._tokenization.tokenize_as_training_text(text, self._source)
        return self._encode(text).split()

    def join(self, subwords):
        """Return the tokens that subwords make, separated by spaces."""
        return join_subwords(" ".join(subwords), self._method)

    def restore(self, subwords):
        """Return subwords as text to read."""
        return self._detokenize(self.join(subwords))

    def parts(self, subwords, limit):
        """Cut subwords into parts of at most `limit`: after a sentence, else between words."""
        parts = []
        while len(subwords) > limit:
            cut = self._last_cut(subwords, limit)
            parts.append(subwords[:cut])
            subwords = subwords[cut:]
        return [*parts, subwords]

    def _last_cut(self, subwords, limit):
        cuts = [n for n in range(1, limit + 1) if self._word_ends(subwords, n)]
        ends = [n for n in cuts if subwords[n - 1].endswith(SENTENCE_ENDS)]
        return (ends or cuts or [limit])[-1]

    def _word_ends(self, subwords, n):
        if self._method == "sentencepiece":
            return subwords[n].startswith("\u2581")
        return not subwords[n - 1].endswith("@@")


def _tokenization(files):
    """Return how the text was tokenized, or None for raw text."""
    if "corpus" not in files.manifest:
        return None
    try:
        noted = files.manifest["corpus"]["settings"]
        switches = [noted[n] for n in ("lowercase", "normalize", "aggressive_dash_splits")]
    except (KeyError, TypeError) as error:
        path = files.subword_model.with_name(manifest.NAME)
        raise TranslationError(
            f"{path} does not say how the text was tokenized: prepare the corpus again."
        ) from error
    return Tokenization(*switches)
