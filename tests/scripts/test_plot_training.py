"""Training logs: read whatever surrounds the JSON, drawn to a whole picture."""

import io
import json

import plot_training as program
import pytest
import show_training
from training_log import parse_entry, read_entries

INNER = {"epoch": 1, "update": 0.5, "nll_loss": "7.5", "loss": "19.25"}
PREFIX = "2026-11-21 05:18:30 | INFO | {} | "


def inner(updates, **values):
    return json.dumps({**INNER, "num_updates": str(updates), **values})


def valid(updates, ppl):
    return json.dumps({"epoch": 1, "valid_ppl": str(ppl), "valid_num_updates": str(updates)})


def write_log(path, *lines):
    path.write_text("".join(f"{line}\n" for line in ("{'common': {'x': 1}}", *lines, "done")))
    return path


@pytest.fixture
def log(tmp_path):
    """A log with KL, of 20 updates and two validations."""
    lines = (PREFIX.format("train_inner") + inner(n, kl_loss=str(n / 100)) for n in (10, 20))
    valids = (PREFIX.format("valid") + valid(n, ppl) for n, ppl in ((10, 99.5), (20, 42)))
    return write_log(tmp_path / "rdrop.log", *lines, *valids)


@pytest.mark.parametrize("prefix", ["", PREFIX.format("train_inner"), "INFO:train_inner:"])
def test_an_entry_with_any_prefix(prefix):
    kind, entry = parse_entry(prefix + inner(10, kl_loss="0.5") + "\n")
    assert kind == "train_inner"
    assert (entry["num_updates"], entry["nll_loss"], entry["kl_loss"]) == (10, 7.5, 0.5)


def test_kinds_are_told_apart_by_their_names():
    assert parse_entry(valid(20, 42)) == ("valid", {"epoch": 1, "ppl": 42, "num_updates": 20})
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


def test_curves_show_the_logged_numbers(log, tmp_path):
    plain = write_log(tmp_path / "plain.log", inner(10), inner(30), valid(30, 50))
    loss, kl, ppl = program.draw([("R-Drop", log), ("plain", plain)]).axes
    assert [line.get_label() for line in loss.lines] == ["R-Drop", "plain"]
    assert loss.lines[1].get_xydata().tolist() == [[10, 7.5], [30, 7.5]]
    assert [line.get_xydata().tolist() for line in kl.lines] == [[[10, 0.1], [20, 0.2]]]
    assert ppl.lines[0].get_xydata().tolist() == [[10, 99.5], [20, 42]]


def test_only_plain_runs_leave_the_kl_panel_empty(tmp_path):
    figure = program.draw([("plain", write_log(tmp_path / "log", inner(10)))])
    assert "not logged" in [text.get_text() for text in figure.axes[1].texts]


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml")])
def test_picture(log, tmp_path, name, start):
    program.main([f"R-Drop={log}", "--out", str(tmp_path / name)])
    assert (tmp_path / name).read_bytes().startswith(start)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([name, log.name])


def test_a_log_without_training_is_named(tmp_path):
    log = write_log(tmp_path / "empty.log")
    with pytest.raises(SystemExit, match="empty.log has no training"):
        program.main([str(log), "--out", str(tmp_path / "a.png")])
    assert list(tmp_path.iterdir()) == [log]


def test_an_unknown_kind_of_picture_leaves_nothing(log, tmp_path):
    with pytest.raises(SystemExit, match="xyz"):
        program.main([str(log), "--out", str(tmp_path / "a.xyz")])
    assert list(tmp_path.iterdir()) == [log]


def test_progress_of_a_training(log, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(log.read_text()))
    show_training.main([])
    first, second = capsys.readouterr().out.splitlines()
    assert "valid ppl 99.50" in first
    assert second.split() == ["0.0", "min", "update", "20", "valid", "ppl", "42.00"]
