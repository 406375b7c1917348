"""Training curves: the logged numbers, by updates and by time, in a whole picture."""

import io
import json

import pytest
from helpers.training_log import INNER, PREFIX

from rdrop_tools.plotting import pyplot
from rdrop_tools.runs import plot as program
from rdrop_tools.runs import progress


@pytest.fixture(autouse=True)
def close_figures():
    """matplotlib keeps every one that a test drew."""
    yield
    pyplot().close("all")


def inner(updates, **values):
    return json.dumps({**INNER, "num_updates": str(updates), **values})


def valid(updates, ppl, **others):
    named = {f"valid_{name}": str(value) for name, value in others.items()}
    entry = {"epoch": 1, "valid_ppl": str(ppl), **named, "valid_num_updates": str(updates)}
    return json.dumps(entry)


def write_log(path, *lines):
    path.write_text("".join(f"{line}\n" for line in ("{'common': {'x': 1}}", *lines, "done")))
    return path


@pytest.fixture
def log(tmp_path):
    """A log with KL, of 20 updates and two validations."""
    lines = (PREFIX.format("train_inner") + inner(n, kl_loss=str(n / 100)) for n in (10, 20))
    valids = (PREFIX.format("valid") + valid(n, ppl) for n, ppl in ((10, 99.5), (20, 42)))
    return write_log(tmp_path / "rdrop.log", *lines, *valids)


def timed_log(path, wps, *valids):
    """A log of 20 updates of 600 words, at a speed in words per second."""
    return write_log(path, *(inner(n, wpb="600", wps=str(wps)) for n in (10, 20)), *valids)


def titles(figure):
    return [axis.get_title(loc="left").split()[0] for axis in figure.axes]


def points(line):
    return line.get_xydata().tolist()


def test_curves_show_the_logged_numbers(log, tmp_path):
    plain = write_log(tmp_path / "plain.log", inner(10), inner(30), valid(30, 50))
    loss, kl, ppl = program.draw([("R-Drop", log), ("plain", plain)]).axes
    assert [line.get_label() for line in loss.lines] == ["R-Drop, last 7.5", "plain, last 7.5"]
    assert points(loss.lines[1]) == [[10, 7.5], [30, 7.5]]
    assert [points(line) for line in kl.lines] == [[[10, 0.1], [20, 0.2]]]
    assert points(ppl.lines[0]) == [[10, 99.5], [20, 42]]
    assert {axis.get_xlabel() for axis in (loss, kl, ppl)} == {"updates"}


def test_panels_that_no_run_has_are_left_out(tmp_path, log):
    plain = write_log(tmp_path / "plain.log", inner(10))
    assert titles(program.draw([("plain", plain)])) == ["Training"]
    assert titles(program.draw([("plain", plain), ("R-Drop", log)])) == [
        *("Training", "KL", "Validation")
    ]


def scheduled(updates, alpha, share, kl):
    return inner(updates, rdrop_alpha=str(alpha), rdrop_share=str(share), kl_loss=str(kl))


def test_a_schedule_is_drawn_and_a_plain_update_has_no_kl(tmp_path):
    late = scheduled(10, 0, 0, 0), scheduled(20, 0.5, 1, 0.3), scheduled(30, 1, 1, 0)
    plain = scheduled(10, 0, 0, 0), scheduled(20, 0, 0, 0)
    runs = [(name, write_log(tmp_path / name, *log)) for name, log in (("a", late), ("b", plain))]
    loss, kl, alpha, share = program.draw(runs).axes
    assert [axis.get_title(loc="left").split()[0] for axis in (alpha, share)] == ["Alpha", "Share"]
    assert [points(line) for line in kl.lines] == [[[20, 0.3], [30, 0]]]
    assert points(alpha.lines[0]) == [[10, 0], [20, 0.5], [30, 1]]
    assert points(share.lines[1]) == [[10, 0], [20, 0]]


def test_a_setting_that_never_changes_is_not_drawn(tmp_path):
    constant = write_log(tmp_path / "a", scheduled(10, 1, 1, 0.1), scheduled(20, 1, 1, 0.2))
    assert titles(program.draw([("a", constant)])) == ["Training", "KL"]


def test_bleu(tmp_path):
    runs = []
    for name, bleus in (("R-Drop", (1.5, 30)), ("plain", (28, 27))):
        valids = (valid(n, 50, bleu=bleu) for n, bleu in zip((10, 20), bleus))
        runs.append((name, write_log(tmp_path / name, inner(10), *valids)))
    *_, bleu = program.draw(runs).axes
    assert bleu.get_title(loc="left") == "Validation BLEU"
    assert [points(line) for line in bleu.lines] == [
        [[10, 1.5], [20, 30]],
        [[10, 28], [20, 27]],
    ]
    assert [line.get_label() for line in bleu.lines] == ["R-Drop, best 30.0", "plain, best 28.0"]
    assert bleu.get_ylim()[0] == 15


def test_only_what_was_asked_for_is_drawn(log, tmp_path):
    assert titles(program.draw([("R-Drop", log)], only=["ppl", "bleu"])) == ["Validation"]
    needed = r"no log has anything to draw of bleu\.$"
    with pytest.raises(SystemExit, match=needed):
        program.main([str(log), "--out", str(tmp_path / "a.png"), "--only", "bleu"])
    assert list(tmp_path.iterdir()) == [log]


def test_the_second_row_is_by_wall_time(tmp_path):
    slow = timed_log(tmp_path / "slow", 50, valid(15, 40))  # 10 updates in 2 minutes
    fast = timed_log(tmp_path / "fast", 100, valid(20, 30))
    *_, loss, ppl = program.draw([("slow", slow), ("fast", fast)]).axes
    assert loss.get_xlabel() == ppl.get_xlabel() == "minutes of training"
    assert [points(line) for line in loss.lines] == [[[2, 7.5], [4, 7.5]], [[1, 7.5], [2, 7.5]]]
    assert [points(line) for line in ppl.lines] == [[[3, 40]], [[2, 30]]]


def test_long_trainings_are_in_hours(tmp_path):
    figure = program.draw([("long", timed_log(tmp_path / "long", 0.5))])
    assert figure.axes[1].get_xlabel() == "hours of training"
    assert points(figure.axes[1].lines[0])[1][0] == pytest.approx(20 * 600 / 0.5 / 3600)


def test_without_the_speed_of_all_runs_there_is_no_second_row(tmp_path):
    runs = [("a", timed_log(tmp_path / "a", 50)), ("b", write_log(tmp_path / "b", inner(10)))]
    assert titles(program.draw(runs)) == ["Training"]


def test_two_runs_of_one_name_are_both_drawn(tmp_path, log):
    other = write_log(tmp_path / "other.log", inner(40))
    loss = program.draw([("run", log), ("run", other)]).axes[0]
    assert len(loss.lines) == 2
    assert loss.lines[0].get_color() != loss.lines[1].get_color()


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
    progress.main([])
    first, second = capsys.readouterr().out.splitlines()
    assert "valid ppl 99.50" in first
    assert second.split() == ["0.0", "min", "update", "20", "valid", "ppl", "42.00"]
