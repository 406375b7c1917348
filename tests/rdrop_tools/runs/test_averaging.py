"""Averages are of the right checkpoints, exact and loadable; from damaged ones there is none."""

import argparse
import collections

import pytest
import torch
from helpers import launch
from helpers.constants import TINY_TRANSFORMER, TRAINING, USER_DIR

from rdrop_tools.runs import averaging
from rdrop_tools.runs.checkpoint import UnusableCheckpoint, read_checkpoint


def state(number, updates=None, **changes):
    """Return a small checkpoint's state, of parameters that depend on a number."""
    tied = torch.full((2, 3), float(number))
    model = {"embed": tied, "bias": torch.tensor([number, -1.0]), "output": tied}
    model["steps"] = torch.tensor(number)
    return {
        "args": None,
        "cfg": {"model": {"_name": "transformer"}, "number": number},
        "model": collections.OrderedDict({**model, **changes}),
        "optimizer_history": [{"num_updates": 100 * number if updates is None else updates}],
        "extra_state": {"namespace": argparse.Namespace(number=number)},
        "last_optimizer_state": {"state": {0: torch.zeros(9)}},
    }


@pytest.fixture
def saved(tmp_path):
    """Write states under names and return their paths."""

    def save(**states):
        paths = [tmp_path / f"{name}.pt" for name in states]
        for path, content in zip(paths, states.values()):
            torch.save(content, path)
        return paths

    return save


@pytest.fixture
def training(tmp_path):
    """A folder with the names that fairseq-train writes."""
    for epoch in (1, 2, 9, 10, 11):
        torch.save(state(epoch), tmp_path / f"checkpoint{epoch}.pt")
        torch.save(state(epoch), tmp_path / f"checkpoint_{epoch}_{epoch * 100}.pt")
    for name in ("best", "last", "11-shard0", ".best_loss_2.00"):
        (tmp_path / f"checkpoint_{name}.pt").touch()
    return tmp_path


def test_moving_averages_take_the_place_of_the_parameters(saved, tmp_path):
    kept = collections.OrderedDict(state(7)["model"])
    content = state(2)
    content["extra_state"]["ema"] = kept
    paths = saved(with_ema=content)
    run("--inputs", *paths, "--ema", "--out", tmp_path / "ema.pt")
    found = read_checkpoint(tmp_path / "ema.pt")
    assert found["model"]["embed"].tolist() == kept["embed"].tolist()
    assert "ema" not in found["extra_state"] and found["cfg"]["number"] == 2


def test_a_moving_average_in_float32_goes_before_that_in_half_precision(saved, tmp_path):
    content = state(2)
    content["extra_state"]["ema"] = {name: v.half() for name, v in state(7)["model"].items()}
    content["extra_state"]["ema_fp32_params"] = state(8)["model"]
    run("--inputs", *saved(with_ema=content), "--ema", "--out", tmp_path / "ema.pt")
    found = read_checkpoint(tmp_path / "ema.pt")
    assert found["model"]["embed"].tolist() == state(8)["model"]["embed"].tolist()
    assert not {"ema", "ema_fp32_params"} & set(found["extra_state"])


def test_without_a_moving_average_there_is_none(saved, tmp_path):
    with pytest.raises(SystemExit, match="has no moving average: train with --store-ema"):
        run("--inputs", *saved(plain=state(2)), "--ema", "--out", tmp_path / "ema.pt")
    assert not (tmp_path / "ema.pt").exists()


def test_a_moving_average_that_lost_a_parameter_is_refused(saved, tmp_path):
    content = state(2)
    content["extra_state"]["ema"] = {
        name: value for name, value in content["model"].items() if name != "embed"
    }
    with pytest.raises(SystemExit, match="lacks embed: .* Train with --user-dir rdrop_fairseq"):
        run("--inputs", *saved(lost=content), "--ema", "--out", tmp_path / "ema.pt")
    assert not (tmp_path / "ema.pt").exists()


def names(paths):
    return [path.name for path in paths]


def run(*arguments):
    averaging.main([str(argument) for argument in arguments])


def test_the_mean_of_the_parameters(saved):
    averaged = averaging.average(saved(a=state(1), b=state(2), c=state(6)))
    model = averaged["model"]
    assert model["embed"].tolist() == [[3.0] * 3] * 2
    assert model["bias"].tolist() == [3.0, -1.0]
    assert list(model) == ["embed", "bias", "output", "steps"]
    assert type(model) is collections.OrderedDict


def test_shared_parameters_stay_shared(saved, tmp_path):
    run("--inputs", *saved(a=state(1), b=state(2)), "--out", tmp_path / "average.pt")
    model = torch.load(tmp_path / "average.pt")["model"]
    assert model["embed"].data_ptr() == model["output"].data_ptr() != model["bias"].data_ptr()


@pytest.mark.parametrize("order", ["abc", "cab", "bca"])
def test_all_else_is_the_newest_ones(saved, order):
    paths = dict(zip("abc", saved(a=state(1), b=state(2), c=state(6))))
    averaged = averaging.average([paths[name] for name in order])
    assert averaged["cfg"]["number"] == averaged["extra_state"]["namespace"].number == 6
    assert averaged["optimizer_history"] == [{"num_updates": 600}]
    assert averaged["model"]["steps"] == 6  # whole numbers are not averaged
    assert averaged["model"]["steps"].dtype == torch.int64
    assert "last_optimizer_state" not in averaged


def test_half_precision_is_summed_and_kept_in_a_wider_type(saved):
    # 2048 + 1 has no float16: sums of that type would lose the ones
    values = (2048.0, 1.0, 1.0, 1.0)
    states = {f"s{n}": state(n, bias=torch.tensor([v]).half()) for n, v in enumerate(values)}
    bias = averaging.average(saved(**states))["model"]["bias"]
    assert bias.dtype == torch.float32
    assert bias.item() == 512.75


def test_float64_accumulators(saved):
    values = (1e8, 1.0, 1.0, -1e8)
    states = {f"s{n}": state(n, bias=torch.tensor([v])) for n, v in enumerate(values)}
    assert averaging.average(saved(**states))["model"]["bias"].item() == 0.5


def test_the_last_epochs(training):
    last = averaging.last_checkpoints
    assert names(last(training, 3)) == ["checkpoint9.pt", "checkpoint10.pt", "checkpoint11.pt"]
    bounded = last(training, 2, upper_bound=9)
    assert names(bounded) == ["checkpoint2.pt", "checkpoint9.pt"]


def test_the_last_by_updates(training):
    last = averaging.last_checkpoints(training, 2, by_updates=True)
    assert names(last) == ["checkpoint_10_1000.pt", "checkpoint_11_1100.pt"]
    bounded = averaging.last_checkpoints(training, 2, by_updates=True, upper_bound=999)
    assert names(bounded) == ["checkpoint_2_200.pt", "checkpoint_9_900.pt"]


def test_program_averages_the_last_ones(training, capsys):
    run("--dir", training, "--last", 2, "--upper-bound", 10, "--out", training / "new" / "a.pt")
    averaged = torch.load(training / "new" / "a.pt")
    assert averaged["model"]["bias"][0] == 9.5
    assert averaged["cfg"]["number"] == 10
    assert "checkpoint9.pt" in capsys.readouterr().out


def test_too_few_checkpoints(training):
    with pytest.raises(SystemExit, match="has 5 files checkpointEPOCH.pt, not 6"):
        run("--dir", training, "--last", 6, "--out", training / "a.pt")
    with pytest.raises(SystemExit, match="1 files checkpoint_EPOCH_UPDATES.pt up to 150, not 2"):
        options = ("--last", 2, "--by-updates", "--upper-bound", 150)
        run("--dir", training, *options, "--out", training / "a.pt")
    with pytest.raises(SystemExit, match="There is no folder .*nowhere"):
        run("--dir", training / "nowhere", "--last", 6, "--out", training / "a.pt")


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"bias": torch.zeros(3)}, "bias"),
        ({"extra": torch.zeros(2)}, "extra"),
        ({"output": torch.zeros(2, 3)}, "output"),  # no longer tied
    ],
)
def test_different_models(saved, tmp_path, changes, difference):
    for order in (1, -1):
        paths = saved(a=state(1), b=state(2, **changes))[::order]
        with pytest.raises(SystemExit, match=f"different models: they differ in {difference}"):
            run("--inputs", *paths, "--out", tmp_path / "average.pt")
    assert sorted(names(tmp_path.iterdir())) == ["a.pt", "b.pt"]


def test_a_missing_parameter(saved):
    lacking = state(2)
    del lacking["model"]["bias"]
    with pytest.raises(UnusableCheckpoint, match="differ in bias"):
        averaging.average(saved(a=state(1), b=lacking))


@pytest.mark.parametrize("kept", [0, 6, 1000, -30])
def test_a_torn_checkpoint(saved, tmp_path, kept):
    whole, torn = saved(whole=state(1), torn=state(2))
    torn.write_bytes(torn.read_bytes()[:kept])
    with pytest.raises(SystemExit, match="torn.pt is cut short, or not a checkpoint") as error:
        run("--inputs", whole, torn, "--out", tmp_path / "average.pt")
    assert "\n" not in str(error.value)
    assert sorted(names(tmp_path.iterdir())) == ["torn.pt", "whole.pt"]


def test_a_missing_checkpoint(saved, tmp_path):
    with pytest.raises(SystemExit, match="nowhere.pt does not exist"):
        run("--inputs", *saved(a=state(1)), tmp_path / "nowhere.pt", "--out", tmp_path / "b.pt")


def test_a_file_without_a_model(saved, tmp_path):
    with pytest.raises(SystemExit, match="other.pt is not a checkpoint of fairseq"):
        run("--inputs", *saved(other={"weights": 1}), "--out", tmp_path / "average.pt")


def test_a_failed_writing_keeps_the_earlier_output(saved, tmp_path, monkeypatch):
    out = tmp_path / "average.pt"
    out.write_text("earlier")

    def fail(_, file):
        file.write(b"half")
        raise RuntimeError("no space left on device")

    paths = saved(a=state(1), b=state(2))
    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(SystemExit, match="no space left"):
        run("--inputs", *paths, "--out", out)
    assert out.read_text() == "earlier"
    assert sorted(names(tmp_path.iterdir())) == ["a.pt", "average.pt", "b.pt"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dir", "d"],
        ["--dir", "d", "--last", "0"],
        ["--inputs", "a", "--last", "2"],
        ["--inputs", "a", "--dir", "d", "--last", "2"],
        [],
    ],
)
def test_arguments_that_make_no_sense(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        run(*arguments, "--out", "average.pt")
    assert error.value.code == 2


def test_fairseq_generate_loads_the_average(corpus, tmp_path):
    arguments = (*TRAINING, *TINY_TRANSFORMER, "--share-all-embeddings", "--max-epoch=2")
    criterion = "--criterion=label_smoothed_cross_entropy"
    launch.run(
        *("fairseq-train", corpus.translation, *arguments, criterion, f"--save-dir={tmp_path}"),
        USER_DIR,
    )
    out = tmp_path / "average.pt"
    run("--dir", tmp_path, "--last", 2, "--out", out)
    log = launch.run(
        *("fairseq-generate", corpus.translation, f"--path={out}", "--cpu", "--beam=1"),
        USER_DIR,
    )
    assert log.stdout.count("\nD-") == 53
