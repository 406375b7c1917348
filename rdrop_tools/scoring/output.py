"""Reads a system's output: plain text, or what fairseq-generate prints, checked to be complete."""

import codecs
import re
from pathlib import Path

# Not more digits than any test set needs: int() refuses thousands of them
SENTENCE_LINE = re.compile(r"([SHDT])-(\d{1,18})\t(.*)")
TEST_SET_SIZE = re.compile(r" (\d{1,18}) examples$")
PIECE = "\u2581"  # with which SentencePiece begins a word
LAST_LINE = re.compile(r"[^\t]*?Generate \S+ with beam=\d+: ")  # not a sentence: these have tabs


class ScoringError(Exception):
    """Why there is no score to give, in a sentence for the user."""


def add_system_argument(parser):
    """Add `--sys`, the output of a system, for :func:`read_system`."""
    parser.add_argument(
        "--sys", type=Path, required=True, help="plain text, or the log of fairseq-generate"
    )


def add_reference_argument(parser):
    """Add `--ref`, which may be left out where a log of fairseq-generate has the references."""
    parser.add_argument(
        "--ref", type=Path, help="the reference, plain text; without it: the log's own T- lines"
    )


def read_lines(path):
    """Return the lines of a UTF-8 text file, without their ends; only a newline ends a line.

    Windows's line ends and byte order mark are not part of the text.

    Raises:
        ScoringError: there are no lines, or one is not UTF-8.
        OSError: the file cannot be read.
    """
    lines = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
    if not lines[-1]:
        lines.pop()
    if not lines:
        raise ScoringError(f"{path} is empty.")
    return [_decode(line, path, number) for number, line in enumerate(lines, 1)]


def _decode(line, path, number):
    try:
        return line.decode("utf-8").rstrip("\r")
    except UnicodeDecodeError as error:
        raise ScoringError(f"Line {number} of {path} is not UTF-8 text.") from error


def read_system(path, count):
    """Return the `count` hypotheses, in order, of a plain text file or a fairseq-generate log.

    A log's lines may come in any order. Its hypotheses are the `D-` lines, or the `H-` lines with
    their subwords joined where there are no `D-` lines; of an n-best list the first one counts.

    Raises:
        ScoringError: there are not exactly `count` of them. A score over a part of a test set
            would be no score at all.
    """
    lines = read_lines(path)
    sentences = _sentences(lines)
    if not any(sentences.values()):
        if len(lines) != count:
            raise ScoringError(f"{path} has {len(lines)} lines and the reference has {count}.")
        return lines
    hypotheses = _hypotheses(sentences, path)
    missing = _first_missing(hypotheses, count)
    if missing is not None:
        raise ScoringError(
            f"{path} lacks {count - sum(n < count for n in hypotheses)} of the reference's {count} "
            f"sentences, the first of them number {missing}: was the generation cut short?"
        )
    if len(hypotheses) > count:
        raise ScoringError(
            f"{path} has {len(hypotheses)} sentences and the reference {count}: "
            "they belong to different test sets."
        )
    return [hypotheses[number] for number in range(count)]


def _hypotheses(sentences, path):
    if not sentences["D"]:
        return {
            number: join_subwords(text, "sentencepiece" if PIECE in text else "subword-nmt")
            for number, text in sentences["H"].items()
        }
    _refuse_subwords(sentences["D"], f"{path} has subwords: fairseq-generate needs --remove-bpe.")
    return sentences["D"]


def read_references(paths):
    """Return the references, in order, that fairseq-generate logs hold as `T-` lines.

    Plain text among `paths` holds none.

    Raises:
        ScoringError: no log has any, one lacks a sentence or what shows that it lacks none, still
            has subwords or has other references than another log.
    """
    found = [(path, references) for path in paths if (references := _references(path))]
    if not found:
        raise ScoringError(f"{paths[0]} has no references, as T- lines: give them with --ref.")
    first_path, first = found[0]
    for path, references in found[1:]:
        if references != first:
            raise ScoringError(f"{path} has other references (T- lines) than {first_path}.")
    return first


def _references(path):
    lines = read_lines(path)
    sentences = _sentences(lines)
    references = sentences["T"]
    if not references:
        return []
    sizes = [int(match[1]) for match in map(TEST_SET_SIZE.search, lines) if match]
    count = max(1 + max(map(max, filter(None, sentences.values()))), *sizes, 0)
    missing = _first_missing(references, count)
    if missing is not None:
        raise ScoringError(f"{path} has no T- line for sentence {missing} of {count}: give --ref.")
    _refuse_subwords(
        references,
        f"The references (T- lines) in {path} have subwords: "
        "give --ref, or --remove-bpe to fairseq-generate.",
    )
    if not sizes and not any(map(LAST_LINE.match, lines)):
        raise ScoringError(
            f"{path} has neither the size of the test set nor the last line of fairseq-generate "
            "(Generate ... with beam=...), so it may lack sentences: give --ref."
        )
    return [references[number] for number in range(count)]


def join_subwords(text, method):
    """Return text without the marks of its subword method, as fairseq's `post_process` does it.

    The method is sentencepiece or subword-nmt, as in `prepare.sh --subword`.
    """
    if method == "sentencepiece":
        return text.replace(" ", "").replace(PIECE, " ").strip()
    return f"{text} ".replace("@@ ", "").rstrip()


def _refuse_subwords(sentences, reason):
    if any(PIECE in text or "@@ " in f"{text} " for text in sentences.values()):
        raise ScoringError(reason)


def _sentences(lines):
    """Return {kind of line: {sentence number: text}}; all are empty for a plain text's lines."""
    sentences = {kind: {} for kind in "SHDT"}
    for kind, number, text in (m.groups() for m in map(SENTENCE_LINE.fullmatch, lines) if m):
        if kind in "HD":
            text = text.partition("\t")[2]  # after the model's score
        sentences[kind].setdefault(int(number), text)
    return sentences


def _first_missing(sentences, count):
    return next((number for number in range(count) if number not in sentences), None)
