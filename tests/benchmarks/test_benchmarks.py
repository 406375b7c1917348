"""The benchmarks measure what they say, on sizes that take seconds."""

import csv
import sys
from functools import partial

import pytest
import torch
from helpers.constants import REPOSITORY
from helpers.launch import run

from benchmarks import (
    adaptive_softmax,
    cpu_training,
    loss_head,
    measure,
    plot,
    preparation,
    train_step,
)

SMALL_CASE = loss_head.Case(tokens=6, classes=50, width=8, dtype="float32", device="cpu")
needs_builtin = pytest.mark.skipif(
    loss_head.BuiltinRDrop is None, reason="fairseq 0.12.2 has no R-Drop"
)


def test_variants_take_turns():
    order = []
    variants = {name: partial(order.append, name) for name in "AB"}
    seconds = measure.interleaved(variants, 3, "cpu")
    assert "".join(order) == "ABABAB"
    assert [len(times) for times in seconds.values()] == [3, 3]


def allocate(mebibytes):
    return lambda: torch.ones(mebibytes * 2**20, dtype=torch.uint8)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_peak_is_that_of_the_call_alone():
    assert measure.peak_in_a_fresh_process(allocate, 64) == pytest.approx(64, abs=4)


def test_rows_gather_under_one_header(tmp_path):
    rows = measure.rows_of({"A": [2.0, 1.0, 4.0], "B": [2.0]}, {"A": 7.2}, classes=5)
    measure.append(tmp_path / "r.csv", rows)
    measure.append(tmp_path / "r.csv", rows)
    with open(tmp_path / "r.csv", newline="") as file:
        first, second, *others = csv.DictReader(file)
    assert len(others) == 2
    assert (first["minimum_s"], first["median_s"], first["maximum_s"]) == ("1.0", "2.0", "4.0")
    assert (first["peak_mib"], second["peak_mib"]) == ("7", "")
    assert "| B | 2.000 | 2.000 | 2.000 |  | 2.00 |" in measure.table(rows, ["A"])


def loss_and_gradients(variant):
    features, weight, target = loss_head.build(SMALL_CASE, variant).args[1:]
    loss = loss_head.VARIANTS[variant](features, weight, target)
    return loss.detach(), *torch.autograd.grad(loss, (features, weight))


@pytest.mark.parametrize(
    "variant",
    [
        "fused from logits",
        "fused from features",
        pytest.param(loss_head.BUILTIN, marks=needs_builtin),
    ],
)
def test_every_r_drop_computes_the_same(variant):
    torch.testing.assert_close(loss_and_gradients(variant), loss_and_gradients("reference"))


def test_the_doubled_plain_loss_is_that_of_both_halves():
    features, weight, target = loss_head.build(SMALL_CASE, loss_head.DOUBLED).args[1:]
    halves = [loss_head.plain(1, half, weight, target) for half in features.chunk(2)]
    torch.testing.assert_close(loss_head.plain(2, features, weight, target), sum(halves))


def test_both_ways_to_an_adaptive_softmax_compute_the_same():
    case = adaptive_softmax.Case(9, (6, 4, 5), (8, 4, 2), "float32", "cpu")
    found = []
    for variant in adaptive_softmax.VARIANTS:
        run = adaptive_softmax.build(case, variant)
        run()
        _, features, weights, _ = run.args
        found.append([operand.grad for operand in (features, *weights)])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_left_out(monkeypatch):
    monkeypatch.setattr(loss_head, "available_memory", lambda _: 1000)
    assert not loss_head.fits(SMALL_CASE, "reference")
    assert loss_head.fits(SMALL_CASE, "fused from features")


def test_the_batch_has_sentences_of_similar_but_different_length():
    case = train_step.Case("transformer_tiny", 300, 500, "float32", "cpu")
    sample = train_step.batch(case)
    lengths = sample["target"].ne(1).sum(1)
    assert sample["ntokens"] == lengths.sum()
    assert lengths.float().std() > 0
    assert 0.5 < sample["ntokens"] / sample["target"].numel() <= 1
    assert sample["net_input"]["src_tokens"].numel() <= 500


def test_every_variant_updates_the_one_model_and_leaves_the_batch():
    case = train_step.Case("transformer_tiny", 300, 100, "float32", "cpu")
    names = [n for n in train_step.VARIANTS if n != train_step.BUILTIN or loss_head.BuiltinRDrop]
    for update in train_step.updates(case, names).values():
        trainer, sample = update.args
        sentences = len(sample["target"])
        weight = next(trainer.model.parameters())
        before = weight.detach().clone()
        update()
        assert not torch.equal(before, weight)
        assert len(sample["net_input"]["src_tokens"]) == sentences


def test_from_command_to_picture(tmp_path):
    results, picture = tmp_path / "r.csv", tmp_path / "p.png"
    program = REPOSITORY / "benchmarks" / "loss_head.py"
    options = ("--repeats=1", f"--csv={results}", "--variants", "fused from features")
    done = run("python", program, "--tokens=8", "--classes=60", *options)
    assert "| fused from features |" in done.stdout
    plot.main([f"--csv={results}", "--tokens=8", "--classes=60", f"--out={picture}"])
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match=r"no loss head to draw against V \(N = 9\)"):
        plot.main([f"--csv={results}", "--tokens=9", "--classes=60", f"--out={picture}"])
    assert sorted(tmp_path.iterdir()) == [picture, results]


def test_preparation_is_timed_for_every_number_of_workers(tmp_path, capsys, monkeypatch):
    for language, line in {"en": "A line.", "de": "Eine Zeile."}.items():
        (tmp_path / language).write_text(f"{line}\n" * 30)
    texts = [str(tmp_path / language) for language in ("en", "de")]
    options = ["--languages", "en", "de", "--pairs", "200", "--workers", "1", "2", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", ["preparation.py", "--texts", *texts, *options])
    preparation.main()
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0] for row in rows] == ["| 1", "| 2"]
    assert rows[0][2] == "1.00" and all(int(row[3]) > 5 for row in rows)


def test_a_training_on_a_cpu_is_measured(corpus, capsys):
    with cpu_training.busy_core() as program:
        assert program.poll() is None
        measured = cpu_training.train(corpus.translation, 20, "R-Drop", 1, 1, "kept", 512)
    assert program.poll() is not None
    speed, seconds, peak = measured
    assert speed > 0 and seconds > 1 and peak > 100
    with pytest.raises(SystemExit, match="nowhere"):
        cpu_training.train("nowhere", 20, "plain", 1, 1, "kept")
    rounds = {
        "given back": [(100.0, 9, 500), (50.0, 9, 500)],
        "kept": [(150.0, 8, 600), (60, 8, 600)],
    }
    cpu_training.print_table({("plain", (1, 2), memory): r for memory, r in rounds.items()})
    assert "| plain | 1 x 2 | kept | 105 | 1.35 | 8 | 600 |" in capsys.readouterr().out
