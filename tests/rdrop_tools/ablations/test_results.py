"""A row of the CSV, from the log of a training and of its translation."""

import json
import multiprocessing
import shutil

import pytest
from sacrebleu.metrics import BLEU

from rdrop_tools.ablations.outputs import keep_outputs, kept_outputs
from rdrop_tools.ablations.plan import Plan, Row, Training
from rdrop_tools.ablations.results import (
    FIELDS,
    OUTPUT,
    add_result,
    best_validation,
    check_common,
    is_done,
    of_plan,
    read_results,
)
from rdrop_tools.ablations.significance import comparison, write_significance
from rdrop_tools.ablations.validations import MEASURED, add_validations, read_validations
from rdrop_tools.scoring.comparison import compare
from rdrop_tools.scoring.output import read_lines

REFERENCES = ["a small dog runs fast", "the old man reads a book", "two boys play in the sand"]


def training(name="plain", seed=1, before=("-", 0), updates=40, corpus="multi30k-9"):
    row = Row(name, "base", (corpus,), "plain", 1.0, "1", before[0], "")
    return Training(row, corpus, seed, updates, "--criterion some", before[1])


def log_of(valid, seconds=8):
    """Lines of fairseq's log: 40 updates of 10 words, and BLEU of validations {update: BLEU}."""
    speed = 400 / seconds
    entries = [{"epoch": 1, "num_updates": "40", "wps": f"{speed}", "wpb": "10"}]
    entries += [
        {"epoch": 1, "valid_loss": "1", "valid_bleu": f"{bleu}", "valid_num_updates": f"{update}"}
        for update, bleu in valid.items()
    ]
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def output_of(hypotheses):
    lines = [
        f"T-{n}\t{reference}\nD-{n}\t-0.5\t{hypothesis}\n"
        for n, (reference, hypothesis) in enumerate(zip(REFERENCES, hypotheses))
    ]
    return "".join(lines) + "Generate test with beam=5: nothing\n"


def finish(folder, one, hypotheses, valid=None):
    """Write what a finished training leaves behind."""
    run = folder / one.folder
    run.mkdir(parents=True, exist_ok=True)
    (run / "train.log").write_text(log_of(valid or {10: 5.0, 20: 7.25, 30: 7.25, 40: 6.0}))
    (run / "generate.log").write_text(output_of(hypotheses))
    (run / "commit").write_text("abc1234-dirty\n")
    return run


def test_the_row_of_a_training(tmp_path):
    one = training()
    finish(tmp_path, one, [*REFERENCES[:2], REFERENCES[2][: -len(" sand")]])
    add_result(tmp_path / "results.csv", one, tmp_path, "--lr 1, beam 5")
    (row,) = read_results(tmp_path / "results.csv")
    assert tuple(row) == FIELDS
    assert (row["common"], row["commit"]) == ("--lr 1, beam 5", "abc1234-dirty")
    assert (row["corpus"], row["row"], row["seed"]) == ("multi30k-9", "plain", "1")
    assert (row["pairs"], row["group"], row["settings"]) == ("9", "base", "--criterion some")
    assert (row["updates"], row["seconds"]) == ("40", "8")
    assert (row["valid_bleu"], row["best_update"]) == ("7.25", "30")
    assert row["length_ratio"] == "0.941"  # 16 of 17 words
    assert 90 < float(row["test_bleu"]) < 100
    assert all(row[name] for name in ("python", "torch", "fairseq"))


def test_the_validations_of_a_training(tmp_path):
    one, path = training(), tmp_path / "validations.csv"
    finish(tmp_path, one, REFERENCES, {10: 5.0, 40: 6.5})
    finish(tmp_path, training(seed=2), REFERENCES, {40: 7})
    for each in (one, training(seed=2), one):
        add_validations(path, each, tmp_path)
    rows = [tuple(row[name] for name in ("seed", *MEASURED)) for row in read_validations(path)]
    assert rows == [
        ("2", "40", "8", "1.000", "7.00"),
        *(("1", "10", "2", "1.000", "5.00"), ("1", "40", "8", "1.000", "6.50")),
    ]


@pytest.mark.parametrize("before", ["both", "plain"])
def test_the_seconds_of_the_training_before_count(tmp_path, before):
    one = training(before=(before, 20))
    run = finish(tmp_path, one, REFERENCES)
    first = run.with_name(f"{run.name}-{before}")
    first.mkdir()
    (first / "train.log").write_text(log_of({40: 1.0}, seconds=30))  # 20 of 40 updates
    add_result(tmp_path / "results.csv", one, tmp_path, "")
    assert read_results(tmp_path / "results.csv")[0]["seconds"] == "23"


def test_of_equal_validations_fairseq_keeps_the_last(tmp_path):
    (tmp_path / "log").write_text(log_of({10: 3.0, 20: 3.0, 30: 1.0}))
    assert best_validation(tmp_path / "log")["num_updates"] == 20


def test_a_log_without_bleu_is_refused_in_a_sentence(tmp_path):
    entry = {"epoch": 1, "valid_loss": "1", "valid_num_updates": "10"}
    (tmp_path / "log").write_text(json.dumps(entry) + "\n")
    with pytest.raises(ValueError, match=r"log has no validation with BLEU\.$"):
        best_validation(tmp_path / "log")


def test_a_training_is_done_with_its_settings_alone(tmp_path):
    one = training()
    finish(tmp_path, one, REFERENCES)
    assert not is_done(one, read_results(tmp_path / "results.csv"))
    add_result(tmp_path / "results.csv", one, tmp_path, "")
    add_result(tmp_path / "results.csv", one, tmp_path, "")
    results = read_results(tmp_path / "results.csv")
    assert len(results) == 1 and is_done(one, results)
    assert not is_done(training(seed=2), results)
    assert not is_done(training(updates=41), results)
    assert not is_done(one._replace(arguments="--criterion other"), results)
    assert not is_done(training(before=("plain", 40)), results)
    assert of_plan(results, [one, training(seed=2)]) == results
    assert of_plan(results, [training(seed=2)]) == []


def test_rows_that_are_added_at_the_same_time_are_all_there(tmp_path):
    many = [training(seed=seed) for seed in range(1, 9)]
    for one in many:
        finish(tmp_path, one, REFERENCES)
    processes = [
        multiprocessing.Process(
            target=add_result, args=(tmp_path / "results.csv", one, tmp_path, "")
        )
        for one in many
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert {row["seed"] for row in read_results(tmp_path / "results.csv")} == set("12345678")


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_significance_is_of_the_outputs_of_all_common_seeds(tmp_path, seeds):
    worse = [line.replace("a", "o") for line in REFERENCES]
    for seed in seeds:
        finish(tmp_path, training(seed=seed), worse)
        finish(tmp_path, training("rdrop", seed), REFERENCES)
        finish(tmp_path, training("same", seed), worse)
    finish(tmp_path, training("rdrop", 3), worse)  # plain has no seed 3
    folders = [training(*key) for key in (("plain",), ("rdrop",), ("same",))]
    for one in folders:
        for seed in (*seeds, 3):
            if (tmp_path / one._replace(seed=seed).folder).exists():
                add_result(tmp_path / "results.csv", one._replace(seed=seed), tmp_path, "")
    path = tmp_path / "significance.csv"
    results = read_results(tmp_path / "results.csv")
    keep_outputs(results, tmp_path)
    write_significance(path, Plan(40, 0.9, [one.row for one in folders]), results, tmp_path)
    lines = [line.split(",") for line in path.read_text().splitlines()[1:]]
    assert [line[:4] for line in lines] == [
        ["multi30k-9", "rdrop", "plain", " ".join(map(str, seeds))],
        ["multi30k-9", "same", "plain", " ".join(map(str, seeds))],
    ]
    assert float(lines[0][4]) > 50 and float(lines[0][5]) < 0.5
    assert lines[1][4:] == ["+0.00", "1.0000"]


def outputs_of(folder, *texts):
    """{seed: path} of texts, with their references next to them."""
    (folder / "references.txt").write_text("\n".join(REFERENCES) + "\n")
    paths = {}
    for seed, text in enumerate(texts, 1):
        paths[str(seed)] = folder / f"{len(list(folder.iterdir()))}.txt"
        paths[str(seed)].write_text("\n".join(text) + "\n")
    return paths


WORSE = ["a small dog runs", "the old man reads one book now", "two boys play in a sand"]


def test_the_gain_is_the_difference_of_the_mean_bleu(tmp_path):
    """BLEU of a text of both outputs would be another: one is short and the other long."""
    short = [line.rpartition(" ")[0] for line in REFERENCES]
    long = [f"{line} today" for line in REFERENCES]
    baseline = outputs_of(tmp_path, short, long)
    found = comparison("text-5", baseline, outputs_of(tmp_path, REFERENCES, WORSE))
    bleu = [BLEU().corpus_score(text, [REFERENCES]).score for text in (short, long, WORSE)]
    assert found["gain"] == f"{(100 + bleu[2]) / 2 - (bleu[0] + bleu[1]) / 2:+.2f}"
    assert found["seeds"] == "1 2"


def test_one_output_is_compared_as_sacrebleu_does(tmp_path):
    found = comparison("text-5", outputs_of(tmp_path, WORSE), outputs_of(tmp_path, REFERENCES))
    systems = [("baseline", WORSE), ("other", REFERENCES)]
    _, results = compare(systems, REFERENCES, {"BLEU": BLEU()})
    assert found["p_value"] == f"{results['BLEU'][1].p_value:.4f}"


def test_the_same_outputs_several_times_are_no_more_evidence(tmp_path):
    better = [*REFERENCES[:2], WORSE[2]]
    once, thrice = (
        comparison(
            "text-5", outputs_of(tmp_path, *[WORSE] * n), outputs_of(tmp_path, *[better] * n)
        )
        for n in (1, 3)
    )
    assert (once["gain"], once["p_value"]) == (thrice["gain"], thrice["p_value"])


@pytest.mark.parametrize(
    ("known", "stays"),
    [("1 2,+0.00,0.0300", True), ("1 2,+0.50,0.0300", False), ("1 2 3,+0.00,1", False)],
)
def test_a_comparison_of_more_seeds_stays_where_outputs_are_gone(tmp_path, known, stays):
    both = [training(), training("rdrop")]
    for one in (one._replace(seed=seed) for one in both for seed in (1, 2)):
        finish(tmp_path, one, REFERENCES)
        add_result(tmp_path / "results.csv", one, tmp_path, "")
        if one.seed == 2:
            (tmp_path / one.folder / OUTPUT).unlink()
    path = tmp_path / "significance.csv"
    known = f"multi30k-9,rdrop,plain,{known}"
    path.write_text(f"corpus,row,baseline,seeds,gain,p_value\n{known}\n")
    results = read_results(tmp_path / "results.csv")
    keep_outputs(results, tmp_path)
    write_significance(path, Plan(40, 0.9, [one.row for one in both]), results, tmp_path)
    new = "multi30k-9,rdrop,plain,1,+0.00,1.0000"
    assert path.read_text().splitlines()[1:] == [known if stays else new]
    path.write_text(f"corpus,row,baseline,seeds,gain,p_value\n{known}\n")
    write_significance(path, Plan(40, 0.9, []), results, tmp_path)  # not of this plan
    assert path.read_text().splitlines()[1:] == [known]


def test_outputs_are_kept_as_text_and_stay_without_the_folders_of_the_trainings(tmp_path):
    one, without_a_word = training(), training(seed=2)
    finish(tmp_path, one, REFERENCES)
    finish(tmp_path, without_a_word, [*REFERENCES[:2], ""])
    for finished in (one, without_a_word):
        add_result(tmp_path / "results.csv", finished, tmp_path, "")
    results = read_results(tmp_path / "results.csv")
    keep_outputs(results, tmp_path)
    shutil.rmtree(tmp_path / "multi30k-9")
    keep_outputs(results, tmp_path)
    outputs = kept_outputs(results, tmp_path)["multi30k-9"]["plain"]
    texts = {seed: path.read_text().split("\n") for seed, path in outputs.items()}
    assert texts == {"1": [*REFERENCES, ""], "2": [*REFERENCES[:2], "", ""]}
    assert read_lines(outputs["1"].with_name("references.txt")) == REFERENCES
    assert comparison("multi30k-9", {"1": outputs["1"]}, {"1": outputs["2"]})["seeds"] == "1"


def test_outputs_of_another_test_set_are_refused(tmp_path):
    one = training()
    finish(tmp_path, one, REFERENCES)
    add_result(tmp_path / "results.csv", one, tmp_path, "")
    (tmp_path / "outputs" / "multi30k-9").mkdir(parents=True)
    (tmp_path / "outputs" / "multi30k-9" / "references.txt").write_text("another\n")
    with pytest.raises(ValueError, match="generate.log was not scored against .*references.txt"):
        keep_outputs(read_results(tmp_path / "results.csv"), tmp_path)


def test_a_line_that_was_cut_short_is_named(tmp_path):
    one = training()
    finish(tmp_path, one, REFERENCES)
    path = tmp_path / "results.csv"
    add_result(path, one, tmp_path, "")
    path.write_text(path.read_text() + "multi30k-9,plain,2,base,9,\n")
    with pytest.raises(ValueError, match=r"^line 3 of .*results.csv is not a score: remove it\.$"):
        read_results(path)


def test_trainings_of_other_common_settings_are_refused(tmp_path):
    one = training()
    finish(tmp_path, one, REFERENCES)
    path = tmp_path / "results.csv"
    add_result(path, one, tmp_path, "--lr 1")
    check_common(path, read_results(path), "--lr 1")
    needed = r"has trainings with other settings \(--lr 1\) than these \(--lr 2\): name another"
    with pytest.raises(ValueError, match=needed):
        check_common(path, read_results(path), "--lr 2")
