"""Training logs: read whatever surrounds the JSON, timed whatever interrupted the training."""

import json

import pytest
from helpers.training_log import INNER, PREFIX

from rdrop_tools.runs.log import parse_entry, read_entries, training_seconds


def inner(updates, **values):
    return json.dumps({**INNER, "num_updates": str(updates), **values})


def write_log(path, *lines):
    path.write_text("".join(f"{line}\n" for line in ("{'common': {'x': 1}}", *lines, "done")))
    return path


@pytest.mark.parametrize("prefix", ["", PREFIX.format("train_inner"), "INFO:train_inner:"])
def test_an_entry_with_any_prefix(prefix):
    kind, entry = parse_entry(prefix + inner(10, kl_loss="0.5") + "\n")
    assert kind == "train_inner"
    assert (entry["num_updates"], entry["nll_loss"], entry["kl_loss"]) == (10, 7.5, 0.5)


def test_kinds_are_told_apart_by_their_names():
    valid = '{"epoch": 1, "valid_ppl": "42", "valid_bleu": "31.5", "valid_num_updates": "20"}'
    assert parse_entry(valid)[0] == "valid"
    assert parse_entry(valid)[1] == {"epoch": 1, "ppl": 42, "bleu": 31.5, "num_updates": 20}
    epoch = '{"epoch": 1, "train_loss": "3", "train_train_wall": "7", "train_num_updates": "20"}'
    assert parse_entry(epoch)[0] == "train"
    assert parse_entry(epoch)[1] == {"epoch": 1, "loss": 3, "train_wall": 7, "num_updates": 20}


@pytest.mark.parametrize("line", ["", "loading data", "{'epoch': 1}", inner(10)[:-5], '{"a": "b"}'])
def test_other_lines_are_skipped(line):
    assert parse_entry(line) is None


def test_after_a_resume_the_last_entry_counts(tmp_path):
    numbers = ((10, "5"), (20, "4"), (20, "3"), (30, "2"))
    log = write_log(tmp_path / "log", *(inner(n, nll_loss=loss) for n, loss in numbers))
    entries = read_entries(log, "train_inner")
    assert [(e["num_updates"], e["nll_loss"]) for e in entries] == [(10, 5), (20, 3), (30, 2)]


def timed(updates, wpb, wps, wall):
    return inner(updates, wpb=str(wpb), wps=str(wps), wall=str(wall))


def test_seconds_are_words_by_speed(tmp_path):
    # 10 updates of 500 words at 1,000 a second; 10 of 600 at 500
    log = write_log(tmp_path / "log", timed(10, 500, 1000, 5), timed(20, 600, 500, 17))
    assert training_seconds(log, [0, 10, 15, 20]) == [0, 5, 11, 17]
    assert training_seconds(log, [20, 25]) == [17, 17]  # the log tells no more


@pytest.mark.parametrize("later_walls", [(0, 0, 0), (1, 11, 21)])
def test_seconds_go_on_after_a_resume(tmp_path, later_walls):
    """After update 30 the training was killed, and went on from update 10, at half the speed."""
    first = (timed(n, 500, 1000, n // 2) for n in (10, 20, 30))
    second = (timed(n, 500, 500, wall) for n, wall in zip((20, 30, 40), later_walls))
    log = write_log(tmp_path / "log", *first, *second)
    assert training_seconds(log, [10, 20, 30, 40]) == [5, 15, 25, 35]


def test_seconds_of_a_log_without_speed(tmp_path):
    assert training_seconds(write_log(tmp_path / "log", inner(10), inner(20)), [10]) == []
    stalled = write_log(tmp_path / "log", timed(10, 500, 1000, 5), timed(20, 500, 0, 6))
    assert training_seconds(stalled, [10]) == [5]
