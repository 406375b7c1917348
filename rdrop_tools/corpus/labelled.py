"""Labelled sentences as fairseq's task `sentence_prediction` wants them, in subwords.

A set NAME is a file of sentences, NAME.input0, for pairs another one, NAME.input1, and NAME.label.
"""

from typing import Callable, NamedTuple

from rdrop_tools.corpus.sets import write_lines

NO_LABEL = "<pad>"
"""fairseq's symbol for what does not count: the criterion of the plugin takes it for no label."""


class Example(NamedTuple):
    """A sentence, or a pair of them, and its label."""

    sentences: tuple
    label: str


def write_examples(folder, sets: dict, encode: Callable) -> None:
    """Write {name: list of Example} into a folder; `encode` turns a sentence into subwords."""
    for name, examples in sets.items():
        write_lines(folder / f"{name}.label", [example.label for example in examples])
        for number in range(len(examples[0].sentences)):
            sentences = (example.sentences[number] for example in examples)
            write_lines(folder / f"{name}.input{number}", map(encode, sentences))
