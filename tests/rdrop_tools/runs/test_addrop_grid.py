"""The heat map of p and q from the logs of trainings."""

import json

import pytest

from rdrop_tools.runs import addrop_grid as program


def run(folder, name, *accuracies, finished=True):
    lines = [
        json.dumps({"epoch": n, "valid_accuracy": str(value), "valid_num_updates": str(10 * n)})
        for n, value in enumerate(accuracies, 1)
    ]
    (folder / name).mkdir()
    (folder / name / "train.log").write_text("".join(f"{line}\n" for line in lines))
    if finished:
        (folder / name / "finished").touch()


@pytest.fixture
def runs(tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    run(folder, "train-300-p0.1-q0.3-seed1", 50, 61.5, 60)
    run(folder, "train-300-p0.1-q0.3-seed2", 70, 62)
    run(folder, "train-300-p0.9-q0.3-seed1", 40)
    run(folder, "train-300-plain-seed1", 99)
    run(folder, "train-300-p0.9-q0.3-seed2", finished=False)
    return folder


def test_a_cell_has_the_best_value_of_each_seed(runs):
    assert program.read_grid(runs, "accuracy") == {(0.1, 0.3): [61.5, 70], (0.9, 0.3): [40]}


def test_the_picture_says_the_means(runs, tmp_path):
    figure = program.draw(program.read_grid(runs, "accuracy"), "accuracy")
    axis = figure.axes[0]
    assert sorted(text.get_text() for text in axis.texts) == ["40", "65.75\n(2 seeds)"]
    same = program.draw({(0.1, 0.3): [1, 2], (0.9, 0.3): [3, 4]}, "accuracy")
    assert sorted(text.get_text() for text in same.axes[0].texts) == ["1.5", "3.5"]
    assert same.axes[1].get_ylabel() == "best validation accuracy, mean of 2 seeds"
    program.main([str(runs), f"--out={tmp_path / 'grid.png'}"])
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("metric", "folder", "message"),
    [
        ("bleu", "runs", "has no validation with bleu"),
        ("accuracy", ".", "has no finished run whose name"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(runs, tmp_path, metric, folder, message):
    with pytest.raises(SystemExit, match=message):
        program.main([str(tmp_path / folder), f"--metric={metric}", f"--out={tmp_path / 'g.png'}"])
    assert not (tmp_path / "g.png").exists()
