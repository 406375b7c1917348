"""Draw the attention of one sentence with what AD-DROP would drop, as in its paper, to a picture.

A panel a layer, of one head: dark where the attention is high, framed where a position is a
candidate (among the highest attributions of its row), crossed out where it is dropped.
"""

import argparse
import logging
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

from rdrop_tools.extras import MissingPackage
from rdrop_tools.plotting import pyplot, save

CANDIDATE, DROPPED = "#E69F00", "#D55E00"  # of Okabe and Ito, told apart by colour-blind eyes too


class Map(NamedTuple):
    """One head of one layer; tensors ``(queries, keys)``."""

    title: str
    attention: object
    candidates: object
    dropped: object


def main(argv=None):
    from rdrop_fairseq.options import ATTENTION_DROP

    logging.disable(logging.INFO)  # fairseq's
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, help="of fairseq-train with any criterion")
    parser.add_argument("data", type=Path, help="the folder that fairseq-train was given")
    parser.add_argument("--split", default="valid", help="of the data (default: valid)")
    parser.add_argument("--sentence", type=int, default=0, help="its number, from 0 on")
    parser.add_argument("--head", type=int, default=0, help="its number, from 0 on")
    parser.add_argument("--seed", type=int, default=1, help="of what is dropped")
    parser.add_argument("--out", type=Path, required=True, help="the picture: .png or .svg")
    for option in ATTENTION_DROP:
        option.add_to(parser)
    args = parser.parse_args(argv)
    try:
        save(draw(*attention_maps(args)), args.out)
    except (MissingPackage, OSError, RuntimeError, ValueError, IndexError) as error:
        sys.exit(f"{parser.prog}: {error}")


def attention_maps(args) -> tuple:
    """The words of the queries, those of the keys, and a :class:`Map` of each layer.

    Args:
        args: what :func:`main` reads, with the options of AD-DROP.

    Raises:
        RuntimeError: the checkpoint cannot be loaded, or its attention cannot be seen.
        IndexError: there is no such sentence or head.
    """
    import torch

    from rdrop_fairseq.views.addrop import AttentionDrop
    from rdrop_fairseq.views.attention import record_attention
    from rdrop_fairseq.views.attribution import candidates

    model, task, sample, scores = load(args)
    drop = AttentionDrop(args)
    layers, head = drop.layers(model), args.head
    if not 0 <= head < layers[0].num_heads:
        raise IndexError(f"there is no head {head}: the model has {layers[0].num_heads}")
    with torch.no_grad(), record_attention(layers) as seen:
        scores()
    torch.manual_seed(args.seed)
    with drop.dropped(model, scores) as masks, torch.no_grad():
        scores()
    maps = []
    numbers = sorted(drop.numbers or range(len(layers)))  # as the layers run
    for number, attention, mask in zip(numbers, seen.values(), masks):
        among = candidates(mask.attributions, drop.p, mask.is_key)
        title = f"layer {number}, head {head}"
        maps.append(Map(title, attention[head].detach(), among[0, head], mask.dropped[0, head]))
    return (*axes_words(args.addrop_attention, task, sample["net_input"]), maps)


def load(args) -> tuple:
    """The model without dropout, its task, a sample of one sentence, and what makes its scores."""
    from fairseq import checkpoint_utils
    from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
    from fairseq.criterions.sentence_prediction import SentencePredictionCriterion

    import rdrop_fairseq  # noqa: F401
    from rdrop_fairseq.criterions.scores import sentence_scores, token_scores

    [model], cfg, task = checkpoint_utils.load_model_ensemble_and_task(
        [str(args.checkpoint)], arg_overrides={"data": str(args.data)}
    )
    data = task.load_dataset(args.split) or task.dataset(args.split)
    if not 0 <= args.sentence < len(data):
        raise IndexError(f"there is no sentence {args.sentence}: {args.split} has {len(data)}")
    sample = data.collater([data[args.sentence]])
    criterion = task.build_criterion(cfg.criterion)
    scores = sentence_scores
    if not isinstance(criterion, SentencePredictionCriterion):
        scores, criterion = token_scores, LabelSmoothedCrossEntropyCriterion(task, False, 0.0)
    return model.eval(), task, sample, partial(scores, criterion, model, sample)


def axes_words(attention: str, task, inputs: dict) -> tuple:
    """The words of the queries and those of the keys."""
    source = inputs["src_tokens"][0].tolist(), task.source_dictionary
    target = source
    if "prev_output_tokens" in inputs:
        target = inputs["prev_output_tokens"][0].tolist(), task.target_dictionary
    of_side = {"encoder": (source, source), "decoder": (target, target), "cross": (target, source)}
    return tuple([symbols[token] for token in tokens] for tokens, symbols in of_side[attention])


def draw(queries: list, keys: list, maps: list):
    """Return a figure of the maps, side by side."""
    size = (1.6 + 0.42 * len(keys)) * len(maps), 2.2 + 0.36 * len(queries)
    layout = {"figsize": size, "layout": "constrained", "squeeze": False}
    figure, axes = pyplot().subplots(1, len(maps), **layout)
    for axis, panel in zip(axes[0], maps):
        axis.imshow(panel.attention, cmap="Blues", vmin=0, aspect="auto")
        for row, column in panel.candidates.nonzero().tolist():
            axis.add_patch(_frame(column, row))
        rows, columns = panel.dropped.nonzero(as_tuple=True)
        axis.scatter(columns, rows, marker="x", color=DROPPED, s=60, linewidths=2.2)
        axis.set_title(panel.title, fontsize=10)
        axis.set_xticks(range(len(keys)), keys, rotation=60, ha="right", fontsize=8)
        axis.set_yticks(range(len(queries)), queries, fontsize=8)
        axis.set_xlabel("key")
    axes[0, 0].set_ylabel("query")
    figure.legend(handles=legend(), loc="outside upper center", ncols=2, frameon=False)
    return figure


def legend() -> list:
    """Return what the signs of the maps mean, as handles for matplotlib."""
    from matplotlib.lines import Line2D

    style = {"marker": "x", "color": DROPPED, "linestyle": "", "markeredgewidth": 2}
    return [_frame(0, 0, label="candidate"), Line2D([], [], label="dropped", **style)]


def _frame(column, row, **options):
    """The frame of a candidate."""
    from matplotlib.patches import Rectangle

    corner = column - 0.44, row - 0.44
    return Rectangle(corner, 0.88, 0.88, fill=False, edgecolor=CANDIDATE, lw=1.6, **options)
