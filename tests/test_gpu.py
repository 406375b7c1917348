"""What only a GPU can show; ``RDROP_GPU_TESTS=cpu`` tries the tests themselves on a CPU."""

import os
import re
import warnings
from functools import partial

import pytest
import torch
from helpers.constants import PAD, PLAIN, PLUGIN, RDROP, TINY_TRANSFORMER
from helpers.launch import run
from helpers.models import LANGUAGE_MODEL
from helpers.sentences import CLASSES, LABELS, write_sentences
from helpers.waiting import Waits

from rdrop_fairseq.adaptive_head import reference_loss
from rdrop_fairseq.losses import backward
from rdrop_fairseq.losses.adaptive import adaptive_rdrop_loss
from rdrop_fairseq.losses.fused import fused_rdrop_loss, linear_rdrop_loss
from rdrop_fairseq.losses.reference import rdrop_loss

DEVICE = os.environ.get("RDROP_GPU_TESTS", "cuda")
ON_GPU = DEVICE == "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(ON_GPU and not torch.cuda.is_available(), reason="there is no GPU here"),
]


def case(dtype, views=2, tokens=37, width=64, classes=1003):
    torch.manual_seed(0)
    features = torch.randn(views, tokens, width, dtype=torch.float64) * width**-0.5
    target = torch.randint(2, classes, (tokens,))
    target[::5] = PAD
    operands = [features, torch.randn(classes, width, dtype=torch.float64)]
    return [x.to(DEVICE, dtype).requires_grad_() for x in operands], target.to(DEVICE)


def linear(loss, features, weight, target, **options):
    logits = torch.nn.functional.linear(features, weight)
    return loss(logits, target, 5.0, 0.1, PAD, **options)


def adaptive(loss, features, weight, target, **options):
    """A head of 600 words and a cluster of the others, from the same features."""
    return adaptive_rdrop_loss(
        *(torch.cat([features, features], -1), [weight[:601], weight[601:]]),
        *(target.clamp(max=len(weight) - 2), 5.0, PAD),
        loss=partial(loss, **options),
    )


LOSSES = {
    "features": lambda f, w, t, **o: linear_rdrop_loss(f, w, None, t, 5.0, 0.1, PAD, **o),
    "logits": partial(linear, fused_rdrop_loss),
    "adaptive": partial(adaptive, linear_rdrop_loss),
}
REFERENCE = {
    "features": partial(linear, rdrop_loss),
    "logits": partial(linear, rdrop_loss),
    "adaptive": partial(adaptive, reference_loss),
}


def results(loss, operands, target, autocast=None, **options):
    with torch.autocast(DEVICE, dtype=autocast or torch.bfloat16, enabled=autocast is not None):
        total = loss(*operands, target, **options).loss
    return [total.detach().double(), *(g.double() for g in torch.autograd.grad(total, operands))]


@pytest.mark.parametrize("kernel", ["torch", "triton"])
@pytest.mark.parametrize("form", LOSSES)
@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16", "amp fp16", "amp bf16"])
def test_errs_no_more_than_the_reference(precision, views, form, kernel):
    if kernel == "triton":
        pytest.importorskip("triton", reason="Triton is missing: pip install '.[triton]'")
    half = {"amp fp16": torch.float16, "amp bf16": torch.bfloat16}.get(precision)
    dtype = torch.float32 if half else getattr(torch, precision)
    operands, target = case(dtype, views)
    exact = [x.detach().double().requires_grad_() for x in operands]
    gold = results(REFERENCE[form], exact, target)
    plain = results(REFERENCE[form], operands, target, half)
    found = results(LOSSES[form], operands, target, half, kernel=kernel)
    eps = max(torch.finfo(half or dtype).eps, 1e-6)
    for one, other, truth in zip(found, plain, gold):
        tolerance = 4 * eps * (truth.abs() + truth.abs().mean())
        assert ((one - truth).abs() <= (other - truth).abs().max() + tolerance).all()


@pytest.mark.parametrize("form", ["features", "logits"])
def test_the_host_waits_once(form):
    operands, target = case(torch.float16 if ON_GPU else torch.float32)
    results(LOSSES[form], operands, target)
    if not ON_GPU:
        return
    total = LOSSES[form](*operands, target).loss
    torch.cuda.set_sync_debug_mode("error")
    try:
        total.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    with pytest.warns(UserWarning) as warned:
        torch.cuda.set_sync_debug_mode("warn")
        try:
            LOSSES[form](*operands, target)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len([w for w in warned if "synchroniz" in str(w.message)]) == 1


def waits_of_an_update(built, data, *arguments):
    """How often the host waits for the device in the second update."""
    from fairseq.trainer import Trainer

    made = built(data, *TINY_TRANSFORMER, *arguments)
    made.cfg.common.cpu = not ON_GPU
    trainer = Trainer(made.cfg, made.task, made.model, made.criterion)
    trainer.begin_epoch(1)
    trainer.train_step([made.sample])
    if not ON_GPU:
        with Waits() as waits:
            trainer.train_step([made.sample])
        return len(waits.found)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            trainer.train_step([made.sample])
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return len([w for w in warned if "synchroniz" in str(w.message)])


# The KL, which the log reads, is one more.
MORE_WAITS = {"": 2, "--rdrop-views=3": 2, "--view-cutoff=0.1": 2, "--rdrop-share=0.5": 4}


@pytest.mark.parametrize("option", MORE_WAITS)
def test_an_update_waits_as_often_as_was_counted_on_a_cpu(built, corpus, option, monkeypatch):
    if not ON_GPU:  # where the host may look at the factor
        monkeypatch.setattr(backward, "_is_known_to_be_one", lambda factor: False)
    plain = waits_of_an_update(built, corpus.translation, *PLAIN)
    words = [option] if option else []
    found = waits_of_an_update(built, corpus.translation, *RDROP, *words)
    assert plain > 0 and found <= plain + MORE_WAITS[option]


def trained(data, folder, *arguments, model=(*TINY_TRANSFORMER, *RDROP), updates=300):
    """The last training loss of a run by fairseq-train."""
    words = (
        *(data, *model, f"--user-dir={PLUGIN}", "--distributed-world-size=1"),
        *("--optimizer=adam", "--lr=0.005", "--max-tokens=400", "--seed=1", "--num-workers=0"),
        *(f"--max-update={updates}", "--log-format=simple", "--log-interval=10", "--no-save"),
        *("--disable-validation", f"--save-dir={folder}", *arguments),
    )
    out = run("fairseq-train", *words).stdout
    return [float(loss) for loss in re.findall(r"\| loss ([\d.]+)", out)][-1]


@pytest.fixture(scope="module")
def loss_on_the_cpu(corpus, tmp_path_factory):
    return trained(corpus.translation, tmp_path_factory.mktemp("cpu"), "--cpu")


@pytest.mark.parametrize("precision", ["", "--fp16", "--bf16", "--amp", "--memory-efficient-fp16"])
def test_300_updates_reach_the_loss_of_the_cpu(corpus, tmp_path, loss_on_the_cpu, precision):
    if not ON_GPU and precision not in ("", "--memory-efficient-fp16"):
        pytest.skip(f"fairseq does not train with {precision} on a CPU")
    arguments = [word for word in (precision, "" if ON_GPU else "--cpu") if word]
    found = trained(corpus.translation, tmp_path, *arguments)
    assert found == pytest.approx(loss_on_the_cpu, rel=0.03)


SIMCUT = "--criterion=simcut_label_smoothed_cross_entropy"
ADDROP = "--criterion=addrop_label_smoothed_cross_entropy"
OTHERS = {
    "simcut": (*TINY_TRANSFORMER, SIMCUT, "--label-smoothing=0.1"),
    "second view": (*TINY_TRANSFORMER, *RDROP, "--rdrop-second-view=addrop"),
    "addrop": (*TINY_TRANSFORMER, ADDROP, "--no-cross-tuning"),
    "addrop, attention": (
        *(*TINY_TRANSFORMER, ADDROP, "--no-cross-tuning", "--addrop-attribution=attention"),
    ),
    "adaptive": (
        *(*LANGUAGE_MODEL, "--tokens-per-sample=20", "--criterion=rdrop_adaptive_loss"),
        *("--adaptive-softmax-cutoff=10,20", "--ddp-backend=legacy_ddp"),
    ),
    "sentences": (*CLASSES, "--reg-alpha=1", "--batch-size=8"),
}


@pytest.mark.parametrize("method", OTHERS)
def test_other_methods_come_near_the_loss_of_the_cpu(corpus, tmp_path, method):
    data = corpus.monolingual if method == "adaptive" else corpus.translation
    if method == "sentences":
        write_sentences(tmp_path, LABELS, "valid")  # which fairseq 0.12.2 loads in any case
        data = write_sentences(tmp_path, [LABELS[n % 3] for n in range(48)])
    short = {"model": OTHERS[method], "updates": 20}  # then other dropout masks change it by 1%
    on_cpu = trained(data, tmp_path / "cpu", "--cpu", **short)
    half = ["--fp16"] if ON_GPU else ["--cpu", "--memory-efficient-fp16"]
    assert trained(data, tmp_path / "half", *half, **short) == pytest.approx(on_cpu, rel=0.05)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs here")
@pytest.mark.parametrize("backend", ["pytorch_ddp", "legacy_ddp"])
def test_two_gpus_reach_the_loss_of_the_cpu(corpus, tmp_path, loss_on_the_cpu, backend):
    """Each with half of the tokens of an update."""
    arguments = (f"--ddp-backend={backend}", "--distributed-world-size=2", "--max-tokens=200")
    found = trained(corpus.translation, tmp_path, "--fp16", *arguments)
    assert found == pytest.approx(loss_on_the_cpu, rel=0.05)
