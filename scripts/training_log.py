"""Reads the JSON lines that fairseq-train writes, among other things, with `--log-format json`."""

import json
import re

# With a prefix or not: fairseq-train's output and its --log-file differ in that.
JSON_AT_END = re.compile(r"(\{\"epoch\": .*\})\s*$")


def parse_entry(line):
    """Return (kind, {name: number}) of a JSON line of the log, None for any other line.

    kind is "train_inner" (every --log-interval updates), "train" (an epoch) or "valid". The names
    of the latter two lose their prefix: `valid_ppl` becomes `ppl`.
    """
    match = JSON_AT_END.search(line)
    if not match:
        return None
    try:
        entry = {name: float(value) for name, value in json.loads(match[1]).items()}
    except ValueError:  # cut short by an interruption
        return None
    kind = next((k for k in ("train", "valid") if f"{k}_num_updates" in entry), "train_inner")
    return kind, {name.replace(f"{kind}_", "", 1): value for name, value in entry.items()}


def read_entries(path, kind):
    """Return all entries of a kind, by update; of repeated updates, after a resume, the last."""
    with open(path, encoding="utf-8", errors="replace") as log:
        parsed = [entry for entry in map(parse_entry, log) if entry]
    by_update = {entry["num_updates"]: entry for found, entry in parsed if found == kind}
    return [by_update[update] for update in sorted(by_update)]
