"""The tables and pictures of the ablations, from CSVs with known figures."""

import pytest

from rdrop_tools.ablations import program
from rdrop_tools.ablations.pictures import (
    against_alpha,
    against_computing,
    against_pairs,
    against_updates_and_time,
    alphas,
    best_row,
    curves_of,
    draw_all,
)
from rdrop_tools.ablations.plan import read_plan
from rdrop_tools.ablations.report import progress, tables, with_tables
from rdrop_tools.ablations.results import FIELDS, gains_of
from rdrop_tools.ablations.validations import mean_curve
from rdrop_tools.scores_csv import put_csv

ROWS = """
updates 100
view_cost 0.9
plain   | base  | text-9 text-90 | plain | 1 | 1 | - |
rdrop   | alpha | text-9 text-90 | rdrop | 2 | 1 | - |
alpha-1 | alpha | text-9         | rdrop | 2 | 1 | - | --reg-alpha 1
tuned   | alpha | text-9         | rdrop | 2 | 1 | plain |
plain-twice | computing | text-9 | plain | 1 | 2 | - |
"""


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "rows.txt").write_text(ROWS)
    return read_plan(tmp_path / "rows.txt")


def result(row, seed, test, corpus="text-9", settings="", updates=100):
    group = "base" if row == "plain" else "alpha"
    settings = settings or ("plain" if row.startswith("plain") else "rdrop")
    named = {"corpus": corpus, "row": row, "seed": str(seed), "group": group, "settings": settings}
    scores = {"updates": str(updates), "valid_bleu": "8.00", "test_bleu": str(test)}
    scores["length_ratio"] = "1.01"
    return {**dict.fromkeys(FIELDS, ""), **named, **scores, "best_update": str(90 + seed)}


RESULTS = [
    *(result("plain", seed, bleu) for seed, bleu in ((1, 10), (2, 12), (3, 14))),
    *(result("rdrop", seed, bleu) for seed, bleu in ((1, 11), (2, 14))),
    result("alpha-1", 1, 9, settings="--criterion some --reg-alpha 1"),
]


def lines(plan, significance=()):
    text = tables(plan, RESULTS, list(significance))
    return {line.split(" | ")[1]: line for line in text.split("\n\n")[1].splitlines()}


def test_mean_spread_and_the_gain_over_common_seeds(plan):
    found = lines(plan)
    assert found["plain"] == (
        "| base | plain | 1 | 100 | 1.00 | 3 | 92 | 8.00 ± 0.00 | 12.00 ± 2.00 | 1.010 |  |  |"
    )
    assert found["rdrop"] == (
        "| alpha | rdrop | 2 | 100 | 1.90 | 2 | 92 | 8.00 ± 0.00 | 12.50 ± 2.12 | 1.010 "
        "| +1.50 ± 0.71 |  |"
    )
    assert "| 1 | 91 | 8.00 | 9.00 | 1.010 | -1.00 | -2.00 |" in found["alpha-1"]
    assert gains_of(RESULTS[3:5], RESULTS) == [1, 2]


def test_p_is_shown_with_its_seeds_where_it_is_of_the_results(plan):
    known = {"corpus": "text-9", "row": "rdrop", "baseline": "plain", "p_value": "0.0123"}
    known.update(seeds="1 2", gain="+1.51")
    assert "| +1.50 ± 0.71 (0.0123) |" in lines(plan, [known])["rdrop"]
    of_one = {**known, "seeds": "2", "gain": "+2.00"}
    assert "| +1.50 ± 0.71 (seed 2: +2.00, 0.0123) |" in lines(plan, [of_one])["rdrop"]
    for other in ({"seeds": "1"}, {"seeds": "1 2 3"}, {"corpus": "text-90"}, {"gain": "+1.60"}):
        assert "0.0123" not in tables(plan, RESULTS, [{**known, **other}])


def test_what_was_not_run_is_said(plan):
    of_other = tables(plan, RESULTS, []).split("**text-90**")[1]
    assert of_other == ": 0 trainings.\n\nNot measured yet: `plain`, `rdrop`."
    assert progress(plan, [], 2) == "0 of 14 trainings are done."


def test_the_tables_take_their_place_in_a_readme(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- tables -->\nold\n<!-- end of tables -->\nafter\n")
    made = with_tables(readme, r"| \1 |")
    assert made == "before\n<!-- tables -->\n\n| \\1 |\n\n<!-- end of tables -->\nafter\n"
    readme.write_text(made)
    assert with_tables(readme, r"| \1 |") == made
    readme.write_text("nothing")
    needed = "README.md needs the lines '<!-- tables -->' and '<!-- end of tables -->'"
    with pytest.raises(ValueError, match=needed):
        with_tables(readme, "")


def test_alpha_is_what_the_settings_say_or_its_default():
    assert alphas(RESULTS) == {5.0: [11.0, 14.0], 1.0: [9.0]}


def test_the_pictures_show_the_means(plan, tmp_path):
    larger = [result("plain", 1, 20, "text-90"), result("rdrop", 1, 23, "text-90")]
    by_corpus = {"text-9": RESULTS, "text-90": larger}
    (axis,) = against_alpha(by_corpus).axes
    curve, plain = axis.get_lines()[0], axis.get_lines()[-1]
    assert curve.get_xydata().tolist() == [[1, 9], [5, 12.5]]
    assert set(plain.get_ydata()) == {12}
    (axis,) = against_pairs(by_corpus).axes
    assert axis.get_lines()[1].get_xydata().tolist() == [[9, 1.5], [90, 3]]
    drawn = draw_all(plan, [*RESULTS, *larger], [], tmp_path)
    assert [path.name for path in drawn] == ["alpha.png", "pairs.png"]
    assert all(path.stat().st_size > 1000 for path in drawn)
    assert against_pairs({"text-9": RESULTS}) is None


def test_computing_is_that_of_rows_that_differ_in_nothing_else(plan):
    """plain-twice has the settings of plain, and twice its updates."""
    twice = [result("plain-twice", 1, 15, updates=200), result("plain-twice", 2, 16, updates=200)]
    (axis,) = against_computing(plan, {"text-9": [*RESULTS, *twice]}).axes
    assert axis.get_lines()[0].get_xydata().tolist() == [[1, 12], [2, 15.5]]
    labels = [text.get_text() for text in axis.get_legend().get_texts()]
    assert (axis.get_title(), labels) == ("text-9", ["plain", "R-Drop"])
    assert against_computing(plan, {"text-9": RESULTS}) is None


def test_the_curves_are_of_plain_and_of_the_best_row_by_validation(plan, tmp_path):
    results = [
        result("plain", 1, 10),
        {**result("rdrop", 1, 20), "valid_bleu": "7"},
        {**result("alpha-1", 1, 9), "valid_bleu": "8.5"},
        {**result("alpha-1", 2, 9), "valid_bleu": "8"},
    ]
    tuned = {**result("tuned", 1, 30, settings="rdrop, after plain"), "valid_bleu": "9"}
    assert curves_of(plan, "text-9", [*results, tuned]) == curves_of(plan, "text-9", results)
    assert best_row(results, "alpha") == "alpha-1"
    assert best_row(results, "schedule") is None
    assert curves_of(plan, "text-9", results) == ["plain", "plain-twice", "rdrop", "alpha-1"]
    validations = [validation("plain", 1, 10), validation("alpha-1", 2, 10)]
    assert tmp_path / "curves-text-9.png" in draw_all(plan, results, validations, tmp_path)
    assert tmp_path / "curves-text-9.png" not in draw_all(plan, results, validations[:1], tmp_path)


def validation(row, seed, update, seconds=60, loss=5.0, bleu=20.0, corpus="text-9"):
    measured = {"update": update, "seconds": seconds, "loss": loss, "bleu": bleu}
    texts = {name: str(value) for name, value in measured.items()}
    return {"corpus": corpus, "row": row, "seed": str(seed), **texts}


def test_a_curve_is_the_mean_of_the_seeds_where_all_of_them_were_validated():
    validations = [
        *(validation("plain", 1, 10, 60, 6, 20), validation("plain", 1, 20, 120, 5, 22)),
        *(validation("plain", 2, 10, 90, 7, 21), validation("plain", 2, 15, 100, 1, 1)),
        *(validation("rdrop", 1, 10, 1, 1, 1), validation("plain", 1, 15, corpus="text-90")),
    ]
    curve = mean_curve("text-9", "plain", validations)
    assert curve == [{"update": 10, "seconds": 75, "loss": 6.5, "bleu": 20.5}]
    assert mean_curve("text-9", "other", validations) == []
    other = mean_curve("text-9", "rdrop", validations)
    axes = against_updates_and_time({"plain": curve, "none": [], "rdrop": other}).axes
    drawn = [axis.get_lines()[0].get_xydata().tolist() for axis in axes]
    assert drawn == [[[10, 6.5]], [[10, 20.5]], [[1.25, 6.5]], [[1.25, 20.5]]]
    assert [text.get_text() for text in axes[0].get_legend().get_texts()] == ["plain", "rdrop"]
    assert against_updates_and_time({"plain": curve, "none": []}) is None


def test_without_results_there_is_no_picture(plan, tmp_path):
    (tmp_path / "rows.txt").unlink()
    assert draw_all(plan, [], [], tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_report_leaves_out_results_of_other_settings(tmp_path, capsys):
    (tmp_path / "rows.txt").write_text(ROWS)
    words = {
        "plain": "--criterion label_smoothed_cross_entropy",
        "rdrop": "--criterion rdrop_label_smoothed_cross_entropy",
    }
    results = [
        result("plain", 4, 12, settings=words["plain"]),
        result("rdrop", 4, 13, settings=f"{words['rdrop']} --lr 9"),
    ]
    put_csv(tmp_path / "results.csv", FIELDS, FIELDS[:3], results)
    program.main(["report", f"--rows={tmp_path / 'rows.txt'}", f"--out={tmp_path}"])
    text, said = capsys.readouterr()
    assert "**text-9**: 1 trainings." in text and "12.00" in text and "13.00" not in text
    assert said.count(f"1 rows of {tmp_path / 'results.csv'} are of no row of") == 1


def test_without_results_the_readme_keeps_its_tables(tmp_path):
    (tmp_path / "rows.txt").write_text(ROWS)
    (tmp_path / "README.md").write_text("<!-- tables -->\nold\n<!-- end of tables -->\n")
    with pytest.raises(SystemExit, match="has no results.csv, of which the tables of"):
        program.main(["readme", f"--rows={tmp_path / 'rows.txt'}", f"--out={tmp_path}"])
    assert "old" in (tmp_path / "README.md").read_text()


def test_a_training_that_the_table_does_not_have_is_refused(tmp_path):
    (tmp_path / "rows.txt").write_text(ROWS)
    words = ["add", f"--rows={tmp_path / 'rows.txt'}", f"--out={tmp_path}", "text-9/other-seed1"]
    words.append("--common=")
    with pytest.raises(SystemExit, match="has no row for text-9/other-seed1: was it edited"):
        program.main(words)
