"""A row of the CSV, from the log of a training and of its translation."""

import json
import multiprocessing

import pytest

from rdrop_tools.ablations.plan import Plan, Row, Training
from rdrop_tools.ablations.results import (
    FIELDS,
    add_result,
    best_validation,
    is_done,
    of_plan,
    read_results,
)
from rdrop_tools.ablations.significance import write_significance

REFERENCES = ["a small dog runs fast", "the old man reads a book", "two boys play in the sand"]


def training(name="plain", seed=1, stages=1, updates=40, corpus="multi30k-9"):
    row = Row(name, "base", (corpus,), "plain", 1.0, "1", stages, "")
    return Training(row, corpus, seed, updates, "--criterion some")


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
    return run


def test_the_row_of_a_training(tmp_path):
    one = training()
    finish(tmp_path, one, [*REFERENCES[:2], REFERENCES[2][: -len(" sand")]])
    add_result(tmp_path / "results.csv", one, tmp_path)
    (row,) = read_results(tmp_path / "results.csv")
    assert tuple(row) == FIELDS
    assert (row["corpus"], row["row"], row["seed"]) == ("multi30k-9", "plain", "1")
    assert (row["pairs"], row["group"], row["settings"]) == ("9", "base", "--criterion some")
    assert (row["updates"], row["seconds"]) == ("40", "8")
    assert (row["valid_bleu"], row["best_update"]) == ("7.25", "30")
    assert row["length_ratio"] == "0.941"  # 16 of 17 words
    assert 90 < float(row["test_bleu"]) < 100
    assert all(row[name] for name in ("python", "torch", "fairseq"))


def test_the_seconds_of_both_stages_count(tmp_path):
    one = training(stages=2)
    run = finish(tmp_path, one, REFERENCES)
    first = run.with_name(f"{run.name}-both")
    first.mkdir()
    (first / "train.log").write_text(log_of({40: 1.0}, seconds=30))
    add_result(tmp_path / "results.csv", one, tmp_path)
    assert read_results(tmp_path / "results.csv")[0]["seconds"] == "38"


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
    add_result(tmp_path / "results.csv", one, tmp_path)
    add_result(tmp_path / "results.csv", one, tmp_path)
    results = read_results(tmp_path / "results.csv")
    assert len(results) == 1 and is_done(one, results)
    assert not is_done(training(seed=2), results)
    assert not is_done(training(updates=41), results)
    assert not is_done(one._replace(arguments="--criterion other"), results)
    assert of_plan(results, [one, training(seed=2)]) == results
    assert of_plan(results, [training(seed=2)]) == []


def test_rows_that_are_added_at_the_same_time_are_all_there(tmp_path):
    many = [training(seed=seed) for seed in range(1, 9)]
    for one in many:
        finish(tmp_path, one, REFERENCES)
    processes = [
        multiprocessing.Process(target=add_result, args=(tmp_path / "results.csv", one, tmp_path))
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
                add_result(tmp_path / "results.csv", one._replace(seed=seed), tmp_path)
    path = tmp_path / "significance.csv"
    results = read_results(tmp_path / "results.csv")
    write_significance(path, Plan(40, 0.9, [one.row for one in folders]), results, tmp_path)
    lines = [line.split(",") for line in path.read_text().splitlines()[1:]]
    assert [line[:4] for line in lines] == [
        ["multi30k-9", "rdrop", "plain", str(len(seeds))],
        ["multi30k-9", "same", "plain", str(len(seeds))],
    ]
    assert lines[0][5] == "100.00" and float(lines[0][6]) < 0.5
    assert lines[1][4] == lines[1][5] and lines[1][6] == "1.0000"
