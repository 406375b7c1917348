"""Score a system's output with COMET, where unbabel-comet and its model are to be had."""

import argparse
import sys
from pathlib import Path

from rdrop_tools.scoring.detokenization import detokenizer
from rdrop_tools.scoring.output import ScoringError, add_system_argument, read_lines, read_system


class NoModel(Exception):
    """Why there is no model of COMET, in a few words."""


def comet_score(model, sources, hypotheses, references):
    """Return the score of a system: the mean over its sentences.

    Args:
        model: the name of a model, which is downloaded once, or the file of one.

    Raises:
        ImportError: unbabel-comet is not installed.
        NoModel: the model cannot be downloaded or loaded.
    """
    network = _load(model)
    sentences = [
        {"src": source, "mt": hypothesis, "ref": reference}
        for source, hypothesis, reference in zip(sources, hypotheses, references)
    ]
    return network.predict(sentences, batch_size=16, gpus=0).system_score


def _load(model):
    from comet import download_model, load_from_checkpoint

    try:
        return load_from_checkpoint(model if Path(model).is_file() else download_model(model))
    except Exception as error:  # no network, no such name, no permission: each has its own
        raise NoModel(" ".join(str(error).split()) or type(error).__name__) from error


def read_raw_texts(args):
    """Return the source, the hypotheses and the references as raw text.

    Raises:
        ScoringError: a text is damaged, or they do not belong together.
    """
    references = read_lines(args.ref)
    sources = read_lines(args.src)
    if len(sources) != len(references):
        raise ScoringError(f"{args.src} and {args.ref} do not have equally many lines.")
    hypotheses = read_system(args.sys, len(references))
    to_source, to_target = map(detokenizer, args.detokenize) if args.detokenize else (str, str)
    return [*map(to_source, sources)], [*map(to_target, hypotheses)], [*map(to_target, references)]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    add_system_argument(parser)
    parser.add_argument("--src", type=Path, required=True, help="the source, plain text")
    parser.add_argument("--ref", type=Path, required=True, help="the reference, plain text")
    parser.add_argument(
        "--model", default="Unbabel/wmt22-comet-da", help="its name, or its file (%(default)s)"
    )
    parser.add_argument(
        "--detokenize",
        nargs=2,
        metavar=("SOURCE", "TARGET"),
        help="all texts are tokenized as Moses does: detokenize them first",
    )
    args = parser.parse_args(argv)
    try:
        print(f"COMET ({args.model}) = {comet_score(args.model, *read_raw_texts(args)):.4f}")
    except ImportError:
        print("COMET: left out, it needs pip install unbabel-comet")
    except NoModel as error:
        print(
            f"COMET: left out, its model {args.model} cannot be had ({error}): check the name and "
            "the network, or give the file of a model"
        )
    except Exception as error:  # a model may fail in any way, as where there is no memory for it
        sys.exit(f"{parser.prog}: {error}")
