"""Each patch of fairseq, on what broke without it."""

import argparse
import collections
import errno
import io
import json
import os
import pickle
import re
import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import fairseq
import numpy as np
import pytest
import torch
from fairseq import checkpoint_utils, file_io
from fairseq.data import FairseqDataset, data_utils
from fairseq.data.iterators import EpochBatchIterator
from fairseq.logging import progress_bar
from fairseq.trainer import Trainer
from helpers.constants import RDROP, TINY_TRANSFORMER, USER_DIR
from helpers.hostile import RunsACommand, needs_checked_types
from helpers.launch import run
from omegaconf import OmegaConf
from torch.nn.utils import parameters_to_vector

from rdrop_fairseq.compat import patches
from rdrop_fairseq.compat.batches import resume_with_first_batches

SGD = (*TINY_TRANSFORMER, *RDROP, "--optimizer=sgd")


@pytest.mark.parametrize("sentences", [1, 5, 8, 53])
@pytest.mark.parametrize("multiple", [1, 8])
@pytest.mark.parametrize("limit", [{"max_tokens": 60}, {"max_sentences": 6}, {"max_tokens": 10**6}])
def test_every_sentence_is_in_exactly_one_batch(sentences, multiple, limit):
    lengths = np.arange(1, sentences + 1)
    order = np.arange(sentences)
    batches = data_utils.batch_by_size(
        order, lambda i: lengths[i], lengths, required_batch_size_multiple=multiple, **limit
    )
    assert [index for batch in batches for index in batch] == order.tolist()
    if "max_tokens" in limit:
        assert all(len(batch) * lengths[batch[-1]] <= limit["max_tokens"] for batch in batches)
    else:
        assert all(len(batch) <= limit["max_sentences"] for batch in batches)


def test_no_sentences_give_no_batch():
    empty = np.zeros(0, dtype=np.int64)
    batches = data_utils.batch_by_size(empty, lambda i: 1, empty, max_tokens=10)
    assert sum(len(batch) for batch in batches) == 0


@pytest.fixture
def five_sentences(corpus, tmp_path):
    """Five sentences as test set and as validation set."""
    for language in ("de", "en"):
        lines = (corpus.text / f"test.{language}").read_text().splitlines(keepends=True)
        (tmp_path / f"five.{language}").write_text("".join(lines[:5]))
    data = tmp_path / "data"
    run(
        *("fairseq-preprocess", "--source-lang=de", "--target-lang=en", f"--destdir={data}"),
        *(f"--srcdict={corpus.translation / 'dict.de.txt'}", "--joined-dictionary"),
        *(f"--{split}pref={tmp_path / 'five'}" for split in ("train", "valid", "test")),
    )
    return data


def test_five_sentences_train_validate_and_generate(five_sentences, tmp_path):
    checkpoints = tmp_path / "checkpoints"
    common = (five_sentences, USER_DIR, "--cpu", "--max-tokens=100")
    run(
        *("fairseq-train", *common, *TINY_TRANSFORMER, *RDROP, "--optimizer=adam"),
        *("--max-update=2", f"--save-dir={checkpoints}"),
    )
    generated = run(
        "fairseq-generate", *common, f"--path={checkpoints / 'checkpoint_last.pt'}"
    ).stdout
    hypotheses = [line for line in generated.split("\n") if line.startswith("H-")]
    assert len(hypotheses) == 5


def loads(content, path):
    torch.save(content, path)
    return torch.load(path)


@needs_checked_types
def test_what_fairseq_writes_is_loaded(tmp_path):
    content = {
        "args": argparse.Namespace(arch="transformer"),
        "counts": np.arange(4),
        "cfg": OmegaConf.create({"model": {"arch": "transformer"}, "betas": [0.9, 0.98]}),
        "empty": collections.defaultdict(list),
    }
    loaded = loads(content, tmp_path / "checkpoint.pt")
    assert loaded["args"] == content["args"]
    assert loaded["counts"].tolist() == [0, 1, 2, 3]
    assert loaded["cfg"] == content["cfg"]
    assert loaded["empty"] == {}


@needs_checked_types
@pytest.mark.parametrize("written_by", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_arrays_are_loaded_whichever_numpy_wrote_them(tmp_path, written_by):
    """The pickle inside the checkpoint names NumPy's function as NumPy 1 or NumPy 2 does."""
    here = np.zeros(0).__reduce__()[0].__module__.encode()
    written, renamed = tmp_path / "written.pt", tmp_path / "renamed.pt"
    torch.save({"counts": np.arange(3)}, written)
    with zipfile.ZipFile(written) as source, zipfile.ZipFile(renamed, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(here, written_by))
    assert torch.load(renamed)["counts"].tolist() == [0, 1, 2]


@needs_checked_types
def test_a_checkpoint_that_would_run_a_command_is_refused(tmp_path):
    marker = tmp_path / "the command ran"
    with pytest.raises(pickle.UnpicklingError, match="system"):
        loads({"args": RunsACommand(marker)}, tmp_path / "checkpoint.pt")
    assert not marker.exists()


@pytest.fixture
def two_files(tmp_path):
    """The paths of a file that holds ``new`` and of one that holds ``old``."""
    for name in ("new", "old"):
        (tmp_path / name).write_text(name)
    return str(tmp_path / "new"), str(tmp_path / "old")


class PathManagerOfIopath:
    """Copies as the ``PathManager`` of the package iopath does."""

    @staticmethod
    def copy(src_path, dst_path, overwrite):
        if Path(dst_path).exists() and not overwrite:
            return False
        shutil.copyfile(src_path, dst_path)
        return True

    _path_handlers = {}


@pytest.mark.parametrize("iopath", [None, PathManagerOfIopath])
@pytest.mark.parametrize("overwrite", [{}, {"overwrite": False}, {"overwrite": True}])
def test_a_copy_does_and_returns_what_fairseqs_does(monkeypatch, two_files, iopath, overwrite):
    new, old = two_files
    monkeypatch.setattr(file_io, "IOPathManager", iopath)
    returned = file_io.PathManager.copy(new, old, **overwrite)
    content = Path(old).read_text()
    Path(old).write_text("old")
    assert returned == file_io.PathManager.copy.__wrapped__(new, old, **overwrite)
    assert content == Path(old).read_text()
    assert sorted(path.name for path in Path(old).parent.iterdir()) == ["new", "old"]


def test_a_copy_that_iopath_reports_as_failed_changes_nothing(monkeypatch, two_files):
    failing = SimpleNamespace(copy=lambda **arguments: False, _path_handlers={})
    monkeypatch.setattr(file_io, "IOPathManager", failing)
    assert file_io.PathManager.copy(*two_files, overwrite=True) is False
    assert Path(two_files[1]).read_text() == "old"


def damaged_checkpoints():
    """What may be in place of a checkpoint: {what: bytes}."""
    whole = io.BytesIO()
    torch.save({"model": {str(number): torch.zeros(50) for number in range(20)}}, whole)
    content = whole.getvalue()
    return {
        "nothing": b"",
        "the beginning": content[:100],
        "nearly all": content[:-100],
        "no pickle": b"\xff" * 100,
    }


@pytest.mark.parametrize(("what", "content"), damaged_checkpoints().items())
def test_a_damaged_checkpoint_is_an_error_of_the_kind_that_it_was(tmp_path, what, content):
    """So that a program which catches what fairseq raises without the plugin still does."""
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(Exception) as original:
        checkpoint_utils.load_checkpoint_to_cpu.__wrapped__(str(path))
    with pytest.raises(original.type, match=f"{path} is cut short, or not a checkpoint of fairseq"):
        checkpoint_utils.load_checkpoint_to_cpu(str(path))


def test_a_folder_is_not_called_a_damaged_checkpoint(tmp_path):
    with pytest.raises(IsADirectoryError, match=re.escape(str(tmp_path))) as error:
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path))
    assert "cut short" not in str(error.value)


def test_an_error_of_the_disk_is_not_called_a_damaged_checkpoint(tmp_path, monkeypatch):
    def read(*arguments, **options):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    (tmp_path / "checkpoint.pt").touch()
    monkeypatch.setattr(torch, "load", read)
    with pytest.raises(OSError, match="^.Errno 5. Input/output error$"):
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "checkpoint.pt"))


def test_an_empty_last_batch_changes_no_update(trainer):
    """As on a rank that has fewer batches than the others in the last update of an epoch."""
    weights = []
    for empty in ([], [{}], [None]):
        one, sample = trainer(*SGD, "--dropout=0")
        one.train_step([sample, *empty])
        weights.append(parameters_to_vector(one.model.parameters()))
    assert all(torch.equal(weights[0], other) for other in weights)


def test_nothing_but_empty_batches_change_no_weights(trainer):
    one, _ = trainer(*SGD, "--dropout=0")
    before = parameters_to_vector(one.model.parameters())
    assert one.train_step([{}, {}]) is not None
    assert torch.equal(parameters_to_vector(one.model.parameters()), before)


class Numbers(FairseqDataset):
    """Of a kind for which fairseq keeps its data loader from epoch to epoch."""

    supports_prefetch = True

    def prefetch(self, indices):
        pass

    def __getitem__(self, index):
        return index

    def __len__(self):
        return 16


def epochs_of_a_rank(count, stop=None, state=None):
    """The batches of each epoch of one of two ranks; with ``stop`` also the state there."""
    trainer = SimpleNamespace(
        cfg=SimpleNamespace(
            task=SimpleNamespace(data="data"),
            distributed_training=SimpleNamespace(fix_batches_to_gpus=True),
            dataset=SimpleNamespace(curriculum=0),
        ),
        task=SimpleNamespace(has_sharded_data=lambda split: False, cfg=SimpleNamespace()),
    )
    sizes = dict(seed=1, num_shards=2, shard_id=0)
    batches = [[index] for index in range(16)]
    made = EpochBatchIterator(Numbers(), lambda x: x, batches, **sizes, reuse_dataloader=True)
    get = resume_with_first_batches(lambda *_, **__: made)
    iterator = get(trainer, state["epoch"] if state else 1)
    if state:
        iterator.load_state_dict(state)
    found = []
    for _ in range(count):
        found.append([])
        for (number,) in iterator.next_epoch_itr(fix_batches_to_gpus=True, shuffle=True):
            found[-1].append(number)
            if sum(map(len, found)) == stop:
                return found, iterator.state_dict()
    return found, None


@pytest.mark.skipif(fairseq.__version__ == "0.12.2", reason="it makes a data loader in each epoch")
@pytest.mark.parametrize("stop", [3, 8 + 3])
def test_batches_that_are_fixed_to_gpus_stay_with_them_after_a_resume(stop):
    uninterrupted, _ = epochs_of_a_rank(3)
    before, state = epochs_of_a_rank(3, stop=stop)
    after, _ = epochs_of_a_rank(3 - stop // 8, state=state)
    flat = [[number for epoch in epochs for number in epoch] for epochs in (before, after)]
    assert flat[0] + flat[1] == [number for epoch in uninterrupted for number in epoch]


def test_the_first_rank_draws_as_fairseq_does_and_the_others_differ(trainer, monkeypatch):
    one, _ = trainer(*SGD, "--seed=7")
    one.set_num_updates(3)

    def drawn(rank, **properties):
        for name, value in {"data_parallel_rank": rank, **properties}.items():
            monkeypatch.setattr(Trainer, name, value)
        one._set_seed()
        return tuple(torch.rand(4).tolist())

    torch.manual_seed(7 + 3)
    expected = tuple(torch.rand(4).tolist())
    assert drawn(0) == expected
    assert len({drawn(rank) for rank in range(4)}) == 4
    assert drawn(2, is_fsdp=True) == drawn(0)


def test_a_moving_average_has_every_parameter_of_the_model(trainer):
    normalized = ("--encoder-normalize-before", "--decoder-normalize-before")
    one, sample = trainer(
        *TINY_TRANSFORMER, *normalized, *RDROP, "--store-ema", "--ema-decay=0.5", "--dropout=0"
    )
    name = "decoder.layer_norm.bias"
    values = []  # the average begins with the first of them
    for _ in range(3):
        one.train_step([sample])
        values.append(one.model.state_dict()[name].clone())
    average = one.ema.get_model().state_dict()
    assert average.keys() == one.model.state_dict().keys()
    assert values[2].ne(values[0]).any()
    expected = 0.25 * values[0] + 0.25 * values[1] + 0.5 * values[2]
    assert torch.allclose(average[name], expected, rtol=1e-5, atol=1e-7)


def test_a_line_stands_once_in_the_log_file(tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO", logger=progress_bar.logger.name)
    monkeypatch.setattr(progress_bar.logger, "handlers", [])
    log = tmp_path / "train.log"
    for epoch in (1, 2, 3):
        bar = progress_bar.progress_bar(
            [], log_format="json", log_interval=1, log_file=str(log), epoch=epoch
        )
        bar.print({"loss": epoch}, tag="train", step=epoch)
    assert [json.loads(line)["epoch"] for line in log.read_text().splitlines()] == [1, 2, 3]


def active(monkeypatch, fairseq, numpy, torch_version=2):
    """The functions in compat/ that would replace something of fairseq with these versions."""
    monkeypatch.setattr(patches, "FAIRSEQ", fairseq)
    monkeypatch.setattr(patches, "NUMPY", numpy)
    monkeypatch.setattr(patches, "TORCH", torch_version)
    return {patch.replace.__name__ for patch in patches.PATCHES if patch.needed()}


def test_versions_decide_about_each_patch(monkeypatch):
    numpy_2 = {"length_buckets", "numpy_with_compat"}
    old, new = active(monkeypatch, (0, 12, 2), 1), active(monkeypatch, (0, 12, 3), 2)
    assert old - new == {"disable_fast_path"}
    assert new - old == {"keep_last_batch", *numpy_2}
    assert "disable_fast_path" not in active(monkeypatch, (0, 12, 2), 1, torch_version=1)


REPLACED = """
import os, pkgutil
import fairseq_cli.train
os.environ["RDROP_FAIRSEQ_PATCHES"] = "off"
from rdrop_fairseq.compat.patches import PATCHES, apply_patches
originals = [pkgutil.resolve_name(patch.target) for patch in PATCHES]
os.environ["RDROP_FAIRSEQ_PATCHES"] = "on"
apply_patches()
for patch, original in zip(PATCHES, originals):
    print(patch.target, (pkgutil.resolve_name(patch.target) is not original) == patch.needed())
"""


def test_exactly_the_needed_targets_are_replaced():
    lines = run("python", "-c", REPLACED).stdout.strip().split("\n")[-len(patches.PATCHES) :]
    assert lines == [f"{patch.target} True" for patch in patches.PATCHES]


SHOW = """
import sys, logging
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
import rdrop_fairseq, torch
from fairseq.trainer import Trainer
print(Trainer.train_step.__code__.co_filename)
print(len(torch.serialization.get_safe_globals()) if torch.__version__ >= (2, 6) else "unchecked")
"""


@pytest.mark.parametrize("switch", ["on", "off"])
def test_the_switch_leaves_fairseq_as_it_is_and_checkpoints_loadable(switch):
    output = run("python", "-c", SHOW, environment={patches.SWITCH: switch}).stdout
    fairseq_patches = [p for p in patches.PATCHES if p.target.startswith("fairseq.")]
    count = sum(patch.needed() for patch in fairseq_patches)
    assert (f"{count} patches of fairseq" in output) == (switch == "on")
    assert ("is not patched" in output) == (switch == "off")
    assert ("compat/progress.py" in output) == (switch == "on")
    assert "RDROP_FAIRSEQ_PATCHES=off" in output
    assert output.strip().split("\n")[-1] != "0"


def test_another_value_of_the_switch_is_refused():
    finished = run("python", "-c", SHOW, check=False, environment={patches.SWITCH: "no"})
    assert finished.returncode == 1
    assert "RDROP_FAIRSEQ_PATCHES must be on or off, not 'no'" in finished.stdout
