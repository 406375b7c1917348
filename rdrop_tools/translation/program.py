"""Translate raw text with a trained model: a line out for every line in.

Blank lines stay blank. Control characters become spaces, and bytes that are not UTF-8 become
U+FFFD. A line of more than 250 subwords is translated in parts, one of more than 16,384 characters
not at all: it is left blank. What is wrong with the text is said at the end, and is no failure.
"""

import argparse
import contextlib
import io
import json
import logging
import math
import os
import sys
from pathlib import Path

from rdrop_tools.arguments import at_least_one
from rdrop_tools.extras import MissingPackage, load
from rdrop_tools.translation.engines import Search, load_engine
from rdrop_tools.translation.folder import TranslationError, find_model
from rdrop_tools.translation.preparation import Preparation
from rdrop_tools.translation.reader import Line, name_lines, stream_lines
from rdrop_tools.translation.translator import Translator

HIGHEST_LENPEN = 10  # far above what is in use, far below what overflows


def length_penalty(text):
    """Return the exponent of the length by which scores are divided."""
    try:
        penalty = float(text)
    except ValueError:
        penalty = math.nan
    if not 0 <= penalty <= HIGHEST_LENPEN:
        raise argparse.ArgumentTypeError(
            f"must be a number from 0 to {HIGHEST_LENPEN}, not '{text}'"
        )
    return penalty


def arguments():
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="folder of a training (runs/NAME/RUN, or quickstart-runs/en-de/rdrop-12min), or one "
        "that export_ctranslate2.py made",
    )
    parser.add_argument(
        "words", nargs="*", help="the sentence; without it, and --input, standard input is read"
    )
    parser.add_argument("--input", type=Path, metavar="FILE", help="translate this file")
    parser.add_argument(
        "--beam",
        type=at_least_one,
        default=5,
        metavar="N",
        help="width of the search (%(default)s)",
    )
    parser.add_argument(
        "--lenpen",
        type=length_penalty,
        default=1.0,
        metavar="X",
        help="length penalty: below 1 for shorter, above 1 for longer translations (%(default)s)",
    )
    parser.add_argument(
        "--n-best",
        type=at_least_one,
        default=1,
        metavar="N",
        help="print the N best translations of each line, one a line (%(default)s)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help='for each line an object {"source", "translations": [{"text", "score"}]}, on a line',
    )
    parser.add_argument(
        "--checkpoint", metavar="FILE", help="a file of RUN, in place of the best checkpoint"
    )
    parser.add_argument(
        "--prepared",
        action="store_true",
        help="the text is subwords already, as in subwords/; the output is tokenized",
    )
    parser.add_argument("--cpu", action="store_true", help="on the CPU, even where there is a GPU")
    return parser


def make_translator(args):
    """Return the :class:`Translator` that the command line asks for."""
    files = find_model(args.run, args.checkpoint)
    engine = load_engine(files, Search(args.beam, args.n_best, args.lenpen), args.cpu)
    preparation = Preparation(files, engine.source, engine.target)
    return Translator(engine, preparation, args.prepared)


@contextlib.contextmanager
def open_input(args):
    """Yield the text as an unbuffered stream of bytes."""
    if args.words:
        yield io.BytesIO(os.fsencode(" ".join(args.words)) + b"\n")
    elif args.input:
        with open(args.input, "rb", buffering=0) as stream:
            yield stream
    else:
        with open(0, "rb", buffering=0, closefd=False) as stream:
            yield stream


def as_text(line, translations, n_best):
    """Return the translations of a line, `n_best` lines of text."""
    texts = [translation.text for translation in translations]
    return "".join(f"{text}\n" for text in texts + [""] * (n_best - len(texts)))


def as_json(line: Line, translations, n_best):
    """Return the translations of a line as a line of JSON."""
    content = {"source": line.text, "translations": [one._asdict() for one in translations]}
    if line.problem:
        content["problem"] = line.problem
    return json.dumps(content, ensure_ascii=False) + "\n"


def translate(translator, stream, write, n_best, output):
    """Translate a stream, line by line.

    Args:
        write: from a line, its translations and `n_best` to what is written.

    Returns:
        What was wrong with the text: {problem: [how many lines, the number of the first]}.
    """
    problems = {}
    read = 0
    is_shown = sys.stderr.isatty() and not output.isatty()
    with load("tqdm").tqdm(unit=" lines", disable=not is_shown) as progress:
        for lines in stream_lines(stream):
            results = translator.translate([line.text for line in lines], read + 1)
            output.write("".join(write(*both, n_best) for both in zip(lines, results)))
            output.flush()
            progress.update(len(lines))
            for line in lines:
                read += 1
                if line.problem:
                    problems.setdefault(line.problem, [0, read])[0] += 1
    return problems


def main(argv=None):
    parser = arguments()
    args = parser.parse_intermixed_args(argv)  # words may stand after the options too
    if args.n_best > args.beam:
        parser.error(f"--n-best {args.n_best} needs a --beam of at least {args.n_best}")
    if args.words and args.input:
        parser.error("give the words or --input, not both")
    logging.disable(logging.INFO)  # fairseq's
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    try:
        with open_input(args) as stream:
            translator = make_translator(args)
            write = as_json if args.json else as_text
            problems = translate(translator, stream, write, args.n_best, sys.stdout)
    except (TranslationError, MissingPackage, OSError) as error:
        sys.exit(f"{parser.prog}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    for problem, (count, first) in problems.items():
        print(f"{parser.prog}: {name_lines(count, first)}: {problem}", file=sys.stderr)
