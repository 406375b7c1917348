"""The scores of several seeds: kept once each, and their mean and spread."""

import pytest

from rdrop_tools.runs import seed_scores as program
from rdrop_tools.scores_csv import read_csv


@pytest.fixture
def add(tmp_path):
    """Add scores of a training to the CSV, and return its path."""

    def run(text, **training):
        scores = tmp_path / "scores"
        scores.write_text(text)
        named = [f"{name}={value}" for name, value in training.items()]
        program.main(["add", str(tmp_path / "all.csv"), str(scores), *named])
        return tmp_path / "all.csv"

    return run


def test_mean_and_sample_standard_deviation(add, capsys):
    for seed, value in enumerate((1, 2, 4), 1):
        path = add(f"ppl {value}\nROUGE-1 5\n", benchmark="text", method="plain", seed=seed)
    add("ppl 3\n", benchmark="text", method="R-Drop", seed=1)
    program.main(["table", str(path)])
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| text | plain | 3 | 2.33 ± 1.53 | 5.00 ± 0.00 |",
        "| text | R-Drop | 1 | 3.00 |  |",
    ]


def test_a_second_time_takes_the_place_of_the_first(add):
    add("ppl 1\nold 2\n", benchmark="text", method="plain", seed=1)
    path = add("ppl 7\n", benchmark="text", method="plain", seed=1)
    (row,) = read_csv(path, program.FIELDS)
    assert (row["score"], row["value"]) == ("ppl", "7")


@pytest.mark.parametrize(
    ("text", "message"), [("nothing\n", "not a NAME and a number"), ("ppl many\n", "'ppl many'")]
)
def test_a_line_that_is_no_score_is_refused(add, tmp_path, text, message):
    with pytest.raises(SystemExit, match=message):
        add(text, benchmark="text", method="plain", seed=1)
    assert not (tmp_path / "all.csv").exists()


def test_another_csv_is_refused(add, tmp_path):
    (tmp_path / "all.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SystemExit, match="not a CSV of scores"):
        add("ppl 1\n", benchmark="text", method="plain", seed=1)
    assert (tmp_path / "all.csv").read_text() == "a,b\n1,2\n"


def test_a_line_of_the_csv_without_a_number_is_refused(add, tmp_path):
    path = add("ppl 1\n", benchmark="text", method="plain", seed=1)
    path.write_text(path.read_text() + "text,plain,2,ppl,\n")
    with pytest.raises(SystemExit, match="line 3 of .* is not a score"):
        program.main(["table", str(path)])


def test_a_training_is_described_in_full(add):
    with pytest.raises(SystemExit):
        add("ppl 1\n", benchmark="text", method="plain", size=1)
