"""Labelled sentences as fairseq's task `sentence_prediction` wants them, in subwords.

A set NAME is a file of sentences, NAME.input0, for pairs another one, NAME.input1, and NAME.label.
"""

from typing import Callable, NamedTuple

NO_LABEL = "<pad>"
"""fairseq's symbol for what does not count: the criterion of the plugin takes it for no label."""


class Row(NamedTuple):
    """A sentence, or a pair of them, and its label."""

    sentences: tuple
    label: str


def write_sets(folder, sets: dict, encode: Callable) -> None:
    """Write {name: list of Row} into a folder; `encode` turns a sentence into subwords."""
    for name, rows in sets.items():
        columns = {"label": [row.label for row in rows]}
        for number in range(len(rows[0].sentences)):
            columns[f"input{number}"] = [encode(row.sentences[number]) for row in rows]
        for column, lines in columns.items():
            text = "".join(f"{line}\n" for line in lines)
            (folder / f"{name}.{column}").write_text(text, encoding="utf-8")


def describe_sets(sets: dict) -> str:
    """The number of sentences of each set, in words."""
    return ", ".join(f"{name} {len(rows):,}" for name, rows in sets.items())
