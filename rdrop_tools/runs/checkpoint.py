"""The file of a checkpoint of fairseq: read safely, and written."""

import torch

import rdrop_fairseq  # noqa: F401  (with which PyTorch loads fairseq's checkpoints safely)


class UnusableCheckpoint(Exception):
    """What is wrong with checkpoints, in a sentence for the user."""


def updates_of(state):
    """Return how many updates the model in a checkpoint's state had; 0 where that is not noted."""
    return (state.get("optimizer_history") or [{}])[-1].get("num_updates", 0)


def read_checkpoint(path):
    """Return the state in a checkpoint, its tensors in main memory.

    Raises:
        UnusableCheckpoint: it is not there, damaged, no checkpoint of fairseq, or asks for other
            types than it may hold.
    """
    # fairseq comes with it, which takes seconds: too long for --help
    from rdrop_fairseq.compat.checkpoints import CHECKS_TYPES, why_not_loaded

    try:
        state = torch.load(path, map_location="cpu", weights_only=CHECKS_TYPES)
    except FileNotFoundError as error:
        raise UnusableCheckpoint(f"{path} does not exist.") from error
    except Exception as error:  # which one depends on where the file is damaged
        raise UnusableCheckpoint(why_not_loaded(path, error)) from error
    if not isinstance(state, dict) or "model" not in state:
        raise UnusableCheckpoint(f"{path} is not a checkpoint of fairseq: it holds no model.")
    return state


def write_checkpoint(state, path):
    """Write a checkpoint. Raises OSError, which says why, where PyTorch has a RuntimeError."""
    try:
        with open(path, "wb") as file:
            torch.save(state, file)
    except RuntimeError as error:
        raise (error.__context__ or error) from None
