"""How the text of a benchmark is tokenized: for training, and again when a model translates."""

from typing import NamedTuple

from rdrop_tools.corpus import moses


class Tokenization(NamedTuple):
    """Tokenization as Moses does, and what else becomes of a line."""

    lowercase: bool
    normalize: bool
    """Whether the punctuation of training text is normalised."""
    aggressive_dash_splits: bool
    """Whether words are split at hyphens."""

    def tokenize(self, line, language):
        """Return the tokens of a line, separated by spaces."""
        line = moses.tokenize(line, language, self.aggressive_dash_splits)
        return line.lower() if self.lowercase else line

    def tokenize_as_training_text(self, line, language):
        """Return them as those of training text, which is normalised before."""
        return self.tokenize(moses.normalize(line, language) if self.normalize else line, language)
