"""Average the parameters of several fairseq checkpoints into one that fairseq-generate loads.

Everything else comes from the newest of them, without the state of its optimizer.
"""

import argparse
import re
import sys
from pathlib import Path

import torch

from rdrop_tools.arguments import at_least_one
from rdrop_tools.atomic import atomic_file
from rdrop_tools.runs.checkpoint import (
    UnusableCheckpoint,
    read_checkpoint,
    updates_of,
    write_checkpoint,
)

BY_EPOCH = re.compile(r"checkpoint(\d+)\.pt")
BY_UPDATES = re.compile(r"checkpoint_\d+_(\d+)\.pt")


def last_checkpoints(folder, count, by_updates=False, upper_bound=None):
    """Return the paths of the last `count` checkpoints of a training, the oldest first.

    They are those written after an epoch or, `by_updates`, every so many updates; none after
    epoch or update `upper_bound`.
    """
    if not folder.is_dir():
        raise UnusableCheckpoint(f"There is no folder {folder}.")
    pattern = BY_UPDATES if by_updates else BY_EPOCH
    matches = (pattern.fullmatch(path.name) for path in folder.iterdir())
    found = sorted((int(match[1]), match[0]) for match in matches if match)
    found = [(n, name) for n, name in found if upper_bound is None or n <= upper_bound]
    if len(found) < count:
        names = "checkpoint_EPOCH_UPDATES.pt" if by_updates else "checkpointEPOCH.pt"
        limit = "" if upper_bound is None else f" up to {upper_bound}"
        raise UnusableCheckpoint(f"{folder} has {len(found)} files {names}{limit}, not {count}.")
    return [folder / name for _, name in found[-count:]]


def average(paths, ema=False):
    """Return the state of a checkpoint with the average parameters of those in `paths`.

    With `ema` they are the moving averages that a training with --store-ema keeps in each of them.

    Sums are float64 and the result float32, also where the parameters are of half precision.
    Whole numbers are not averaged: they are the newest checkpoint's, the one with most updates.
    Parameters that share memory, as tied embeddings do, share it in the result too.

    Raises:
        UnusableCheckpoint: a file is not a complete checkpoint, or the models differ.
    """
    newest, layout, sums = None, None, {}
    for path in paths:
        state = read_checkpoint(path)
        if ema:
            _take_moving_average(state, path)
        model = state["model"]
        _check_layout(_layout(model), layout, path, paths[0])
        layout = _layout(model)
        for name, (_, first) in layout.items():
            if name == first and model[name].is_floating_point():
                sums[name] = sums.get(name, 0) + model[name].double()
        if newest is None or updates_of(state) >= updates_of(newest):
            newest = state
    newest["model"] = _mean(sums, len(paths), newest["model"], layout)
    newest.pop("last_optimizer_state", None)
    return newest


def _take_moving_average(state, path):
    kept = state.get("extra_state", {})
    own, float32 = kept.pop("ema", None), kept.pop("ema_fp32_params", None)
    moving_average = float32 or own  # its own has the precision of the model
    if not moving_average:
        raise UnusableCheckpoint(
            f"{path} has no moving average: train with --store-ema to keep one."
        )
    lost = [name for name in state["model"] if name not in moving_average]
    if lost:
        raise UnusableCheckpoint(
            f"The moving average in {path} lacks {lost[0]}: fairseq lost it where the plugin did "
            "not patch it. Train with --user-dir rdrop_fairseq to keep all of it."
        )
    state["model"] = moving_average


def _mean(sums, count, model, layout):
    """Return the averages as a model with the order, types and shared memory of `model`."""
    means = {}
    for name, (_, first) in layout.items():
        if first in means:
            means[name] = means[first]
        elif name in sums:
            dtype = torch.promote_types(model[name].dtype, torch.float32)
            means[name] = (sums[name] / count).to(dtype)
        else:
            means[name] = model[name]
    return type(model)(means)


def _layout(model):
    """Return {name: (shape, the first name of the same memory)}."""
    first_names = {}
    layout = {}
    for name, tensor in model.items():
        view = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        first = first_names.setdefault(view, name) if tensor.numel() else name
        layout[name] = (tuple(tensor.shape), first)
    return layout


def _check_layout(layout, expected, path, first_path):
    if expected is None or layout == expected:
        return
    names = (*expected, *layout)
    name = next(name for name in names if layout.get(name) != expected.get(name))
    raise UnusableCheckpoint(
        f"{path} and {first_path} are checkpoints of different models: they differ in {name}."
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--inputs", type=Path, nargs="+", metavar="FILE", help="the checkpoints")
    source.add_argument("--dir", type=Path, help="a training's --save-dir; needs --last")
    parser.add_argument(
        "--last", type=at_least_one, metavar="N", help="the last N checkpoints of --dir"
    )
    parser.add_argument(
        "--by-updates",
        action="store_true",
        help="those of --save-interval-updates, not those of the epochs",
    )
    parser.add_argument(
        "--upper-bound", type=int, metavar="K", help="none after epoch (or update) K"
    )
    parser.add_argument(
        "--ema",
        action="store_true",
        help="their moving averages, which a training with --store-ema keeps (one is enough)",
    )
    parser.add_argument("--out", type=Path, required=True, help="the averaged checkpoint")
    args = parser.parse_args(argv)
    if args.dir and not args.last:
        parser.error("--dir needs --last")
    if args.inputs and (args.last or args.by_updates or args.upper_bound is not None):
        parser.error("--last, --by-updates and --upper-bound are for --dir")
    try:
        paths = args.inputs or last_checkpoints(
            args.dir, args.last, args.by_updates, args.upper_bound
        )
        print("Averaging", *paths)
        state = average(paths, args.ema)
        with atomic_file(args.out) as out:
            write_checkpoint(state, out)
    except (UnusableCheckpoint, OSError, RuntimeError) as error:
        sys.exit(f"{parser.prog}: {error}")
