"""Reads the JSON lines that fairseq-train writes, among other things, with `--log-format json`."""

import json

import numpy as np

# After a prefix or not: fairseq-train's output and its --log-file differ in that.
START = '{"epoch": '


def parse_entry(line):
    """Return (kind, {name: number}) of a JSON line of the log, None for any other line.

    kind is "train_inner" (every --log-interval updates), "train" (an epoch) or "valid". The names
    of the latter two lose their prefix: `valid_ppl` becomes `ppl`.
    """
    start = line.find(START)
    if start < 0:
        return None
    try:
        values = json.loads(line[start:], parse_int=float)
        entry = {name: float(value) for name, value in values.items()}
    except (ValueError, TypeError, RecursionError):  # cut short by an interruption, or not a log
        return None
    kind = next((k for k in ("train", "valid") if f"{k}_num_updates" in entry), "train_inner")
    if kind == "train_inner" and "num_updates" not in entry:
        return None
    return kind, {name.replace(f"{kind}_", "", 1): value for name, value in entry.items()}


def read_entries(path, kind):
    """Return all entries of a kind, by update; of repeated updates, after a resume, the last."""
    with open(path, encoding="utf-8", errors="replace") as log:
        parsed = [entry for entry in map(parse_entry, log) if entry]
    by_update = {entry["num_updates"]: entry for found, entry in parsed if found == kind}
    return [by_update[update] for update in sorted(by_update)]


def training_seconds(path, updates):
    """Return how many seconds of training it took to reach each of `updates`; [] if not logged.

    Adds up what each --log-interval took, from the words it saw and its words per second. The
    log's `wall` is no help after a resume, where it stands at 0 or starts again, and `train_wall`
    leaves validation and saving out; the speed includes them, and agrees with `wall` before a
    resume. Work that an interruption lost, and was done again, counts once.
    """
    timed = [e for e in read_entries(path, "train_inner") if e.get("wps") and "wpb" in e]
    if not timed:
        return []
    reached, seconds = [0.0], [0.0]
    for entry in timed:
        words = (entry["num_updates"] - reached[-1]) * entry["wpb"]
        reached.append(entry["num_updates"])
        seconds.append(seconds[-1] + words / entry["wps"])
    return np.interp(updates, reached, seconds).tolist()
