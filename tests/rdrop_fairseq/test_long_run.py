"""A training keeps its size and its pace, and its largest batch needs what can be predicted."""

import csv
import ctypes
import gc
import itertools
import multiprocessing
import sys
import time
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from helpers.constants import RDROP, TINY_TRANSFORMER, TRAINING, USER_DIR
from helpers.launch import FORKSERVER, fork

from benchmarks import loss_head, measure, train_step
from rdrop_fairseq.losses import chunks
from rdrop_fairseq.views.repeat import repeat_sample

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]
UPDATES = 2000
MIB = 2**20
LIBRARIES = 20  # MiB that matrix products and their code take; 17.2 seen with builds for CUDA


def observe(path) -> None:
    """Note seconds of CPU, memory (KiB) and the number of Python's objects after updates."""
    from fairseq.tasks.translation import TranslationTask

    train = TranslationTask.train_step
    rows = csv.writer(open(path, "w", buffering=1))  # noqa: SIM115

    updates = itertools.count(1)

    def train_and_note(*arguments, **options):
        result = train(*arguments, **options)
        update = next(updates)
        row = [update, time.process_time()]
        if update in (200, UPDATES):
            gc.collect()
            row += [measure._status("VmRSS"), len(gc.get_objects())]
        rows.writerow(row)
        return result

    TranslationTask.train_step = train_and_note


@pytest.fixture(scope="module")
def long_run(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    fork(
        *("fairseq-train", corpus.translation, USER_DIR, f"--save-dir={folder}"),
        *(*TRAINING, *TINY_TRANSFORMER, *RDROP, f"--max-update={UPDATES}"),
        *("--log-interval=100", "--no-epoch-checkpoints", "--save-interval=50"),
        "--validate-interval=50",
        prepare=partial(observe, folder / "observed.csv"),
    )
    rows = list(csv.reader((folder / "observed.csv").open()))
    assert [int(row[0]) for row in rows] == [*range(1, UPDATES + 1)]
    cpu = torch.tensor([float(row[1]) for row in rows], dtype=torch.float64)
    (memory, objects) = zip(*([int(value) for value in row[2:]] for row in rows if row[2:]))
    return SimpleNamespace(seconds=cpu.diff(), memory=memory, objects=objects)


def test_memory_does_not_grow(long_run):
    early, late = long_run.memory
    assert late < 1.03 * early


def test_nothing_gathers(long_run):
    early, late = long_run.objects
    assert late < early + UPDATES / 4  # not even one object in four updates


def test_the_time_of_an_update_does_not_grow(long_run):
    """By the quickest updates of each window, which other programs hardly disturb."""
    early, late = (window.quantile(0.2) for window in long_run.seconds.split(1000)[:2])
    assert late < 1.5 * early


def head_peak(case) -> float:
    """MiB that the fused head needs: see the docstring of ``linear_rdrop_loss``.

    A copy of both views' features, which becomes their gradient, that gradient once more in its
    place, the gradient of the weight, the logits of a chunk, and what a block of them is turned to.
    """
    features, weight = 2 * case.tokens * case.width, case.classes * case.width
    chunk = min(2 * case.tokens * case.classes, chunks.CPU_CHUNK_MIB * MIB // 4)
    return 4 * (2 * features + weight + chunk + 8 * chunks.CPU_BLOCK_ELEMENTS) / MIB


@pytest.fixture
def peak(monkeypatch):
    """benchmarks/measure.py's way to a peak, in a process that need not import everything."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: FORKSERVER)
    return measure.peak_in_a_fresh_process


@pytest.mark.parametrize(("tokens", "classes", "width"), [(2000, 8000, 64), (4000, 2000, 512)])
def test_the_head_needs_what_is_predicted(peak, tokens, classes, width):
    case = loss_head.Case(tokens, classes, width, "float32", "cpu")
    assert peak(loss_head.build, case, "fused from features") < head_peak(case) + LIBRARIES


LENGTHS = range(1, 1001)
CASE = train_step.Case("transformer_tiny", 8000, 2000, "float32", "cpu")
WIDTH = 64  # of transformer_tiny


def batches() -> list:
    """Some of the batches of sentences of 1 to 1,000 tokens, the largest of all among them."""
    symbols = train_step.vocabulary(CASE.classes)
    random = torch.Generator().manual_seed(0)
    low, high = symbols.nspecial, CASE.classes
    sentences = [torch.randint(low, high, (length,), generator=random) for length in LENGTHS]
    data = train_step.LanguagePairDataset(
        *(sentences, list(LENGTHS), symbols, sentences, list(LENGTHS), symbols), shuffle=False
    )
    chosen = train_step.data_utils.batch_by_size(
        data.ordered_indices(), data.num_tokens, max_tokens=CASE.max_tokens
    )
    largest = max(chosen, key=lambda batch: len(batch) * LENGTHS[max(batch)])
    assert len(largest) * LENGTHS[max(largest)] == CASE.max_tokens
    some = [*chosen[::100], largest, chosen[-1]]
    return [data.collater([data[int(number)] for number in batch]) for batch in some]


def give_back_what_is_freed() -> None:
    """Else glibc keeps freed memory, or does not, by what happened before: 100 MiB in this test."""
    m_mmap_threshold = -3
    ctypes.CDLL(None).mallopt(m_mmap_threshold, 2**17)


def updates(variant):
    """Train on each of the batches."""
    give_back_what_is_freed()
    [run] = train_step.updates(CASE, [variant]).values()
    trainer = run.args[0]
    run()  # Adam's state is made in the first update
    samples = batches()
    return lambda: [train_step.update(trainer, sample) for sample in samples]


def bodies():
    """The same without the head: both views through the model to its features and back."""
    give_back_what_is_freed()
    [run] = train_step.updates(CASE, [train_step.SINGLE]).values()
    model, samples = run.args[0].model, batches()
    run()

    def forward_and_backward():
        for sample in samples:
            net_input = repeat_sample(sample)["net_input"]
            model(**net_input, features_only=True)[0].sum().backward()

    return forward_and_backward


def test_the_largest_batch_needs_what_is_predicted(peak):
    largest = loss_head.Case(CASE.max_tokens, CASE.classes, WIDTH, "float32", "cpu")
    predicted = peak(bodies) + head_peak(largest)
    assert peak(updates, "fused from features") < predicted + LIBRARIES
