"""Average the parameters of several fairseq checkpoints into one that fairseq-generate loads.

Everything else comes from the newest of them, without the state of its optimizer.
"""

import argparse
import re
import sys
from pathlib import Path

import torch

import rdrop_fairseq  # noqa: F401  (with which PyTorch loads fairseq's checkpoints safely)
from rdrop_tools.arguments import at_least_one
from rdrop_tools.atomic import atomic_file

BY_EPOCH = re.compile(r"checkpoint(\d+)\.pt")
BY_UPDATES = re.compile(r"checkpoint_\d+_(\d+)\.pt")


class AveragingError(Exception):
    """Why there is no average to take, in a sentence for the user."""


def last_checkpoints(folder, count, by_updates=False, upper_bound=None):
    """Return the paths of the last `count` checkpoints of a training, the oldest first.

    They are those written after an epoch or, `by_updates`, every so many updates; none after
    epoch or update `upper_bound`.
    """
    if not folder.is_dir():
        raise AveragingError(f"There is no folder {folder}.")
    pattern = BY_UPDATES if by_updates else BY_EPOCH
    matches = (pattern.fullmatch(path.name) for path in folder.iterdir())
    found = sorted((int(match[1]), match[0]) for match in matches if match)
    found = [(n, name) for n, name in found if upper_bound is None or n <= upper_bound]
    if len(found) < count:
        names = "checkpoint_EPOCH_UPDATES.pt" if by_updates else "checkpointEPOCH.pt"
        limit = "" if upper_bound is None else f" up to {upper_bound}"
        raise AveragingError(f"{folder} has {len(found)} files {names}{limit}, not {count}.")
    return [folder / name for _, name in found[-count:]]


def average(paths, ema=False):
    """Return the state of a checkpoint with the average parameters of those in `paths`.

    With `ema` they are the moving averages that a training with --store-ema keeps in each of them.

    Sums are float64 and the result float32, also where the parameters are of half precision.
    Whole numbers are not averaged: they are the newest checkpoint's, the one with most updates.
    Parameters that share memory, as tied embeddings do, share it in the result too.

    Raises:
        AveragingError: a file is not a complete checkpoint, or the models differ.
    """
    newest, layout, sums = None, None, {}
    for path in paths:
        state = load(path)
        if ema:
            _take_moving_average(state, path)
        model = state["model"]
        _check_layout(_layout(model), layout, path, paths[0])
        layout = _layout(model)
        for name, (_, first) in layout.items():
            if name == first and model[name].is_floating_point():
                sums[name] = sums.get(name, 0) + model[name].double()
        if newest is None or updates(state) >= updates(newest):
            newest = state
    newest["model"] = _mean(sums, len(paths), newest["model"], layout)
    newest.pop("last_optimizer_state", None)
    return newest


def _take_moving_average(state, path):
    kept = state.get("extra_state", {})
    own, float32 = kept.pop("ema", None), kept.pop("ema_fp32_params", None)
    moving_average = float32 or own  # its own has the precision of the model
    if not moving_average:
        raise AveragingError(f"{path} has no moving average: train with --store-ema to keep one.")
    lost = [name for name in state["model"] if name not in moving_average]
    if lost:
        raise AveragingError(
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
    raise AveragingError(
        f"{path} and {first_path} are checkpoints of different models: they differ in {name}."
    )


def updates(state):
    """Return how many updates the model in a checkpoint's state had; 0 where that is not noted."""
    return (state.get("optimizer_history") or [{}])[-1].get("num_updates", 0)


def load(path):
    """Return the state in a checkpoint, its tensors in main memory."""
    # fairseq comes with it, which takes seconds: too long for --help
    from rdrop_fairseq.compat.checkpoints import CHECKS_TYPES, why_not_loaded

    try:
        state = torch.load(path, map_location="cpu", weights_only=CHECKS_TYPES)
    except FileNotFoundError as error:
        raise AveragingError(f"{path} does not exist.") from error
    except Exception as error:  # which one depends on where the file is damaged
        raise AveragingError(why_not_loaded(path, error)) from error
    if not isinstance(state, dict) or "model" not in state:
        raise AveragingError(f"{path} is not a checkpoint of fairseq: it holds no model.")
    return state


def save(state, path):
    """Write a checkpoint. Raises OSError, which says why, where PyTorch has a RuntimeError."""
    try:
        with open(path, "wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        raise (error.__context__ or error) from None


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
            save(state, out)
    except (AveragingError, OSError, RuntimeError) as error:
        sys.exit(f"{parser.prog}: {error}")
