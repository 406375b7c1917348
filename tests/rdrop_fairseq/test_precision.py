"""Half precision: gradients near those of float64, no NaN at the edges, overflow survived.

fairseq runs --fp16 on a CPU in two forms and --bf16 not at all; there, and wherever a case has to
be exact, the loss is called as the fp16 optimizer calls it: scaled, and the gradient divided.
"""

from functools import partial

import pytest
import torch
from fairseq.modules import FairseqDropout
from helpers.constants import PAD, RDROP, TINY_TRANSFORMER

from rdrop_fairseq.losses.fused import fused_rdrop_loss, linear_rdrop_loss
from rdrop_fairseq.losses.reference import rdrop_loss

SCALE = 128.0  # fairseq's --fp16-init-scale

# Allowed relative error of a loss and of the norm of a gradient of the loss, against float64.
LOSS_ERROR = {torch.float32: 2e-4, torch.float16: 2e-3, torch.bfloat16: 1e-2}
# The same of the gradient of a whole model, which rounds in every layer.
MODEL_ERROR = {torch.float32: 1e-6, torch.float16: 5e-3, torch.bfloat16: 3e-2}


def reference(features, weight, *weighting):
    return rdrop_loss(torch.nn.functional.linear(features, weight), *weighting)


def fused_from_logits(features, weight, *weighting):
    return fused_rdrop_loss(torch.nn.functional.linear(features, weight), *weighting)


def fused_from_features(features, weight, *weighting):
    return linear_rdrop_loss(features, weight, None, *weighting)


LOSSES = (reference, fused_from_logits, fused_from_features)


def edge_case(classes=50, tokens=6, largest=3.0, same=False, padding=False):
    """Features ``(2, T, 1)`` of powers of two, so that half precision has the exact logits."""
    generator = torch.Generator().manual_seed(classes)
    features = torch.tensor([1.0, -1.0, 0.5]).repeat(tokens)[: 2 * tokens].view(2, tokens, 1)
    if same:
        features = features[:1].expand(2, -1, -1)
    weight = torch.rand(classes, 1, generator=generator) * 2 - 1
    weight[0] = 1
    target = torch.randint(0, classes, (tokens,), generator=generator)
    target[target.eq(PAD)] = 0
    if padding:
        target[:] = PAD
    return features, weight * largest, target


EDGE_CASES = {
    "ordinary": edge_case(),
    "logits of 1e4": edge_case(largest=1e4),
    "logits of 1e4, identical views": edge_case(largest=1e4, same=True),
    "identical views": edge_case(same=True),
    "2 classes": edge_case(classes=2),
    "250,000 classes": edge_case(classes=250_000, tokens=3),
    "one token": edge_case(tokens=1),
    "all padding": edge_case(padding=True),
}


def loss_and_gradients(loss_function, operands, target, scale=1.0):
    total = loss_function(*operands, target, 5.0, 0.1, PAD)
    gradients = torch.autograd.grad(total.loss * scale, operands)
    return [*(value.double() for value in total), *(g.double() / scale for g in gradients)]


@pytest.mark.parametrize("dtype", LOSS_ERROR, ids=str)
@pytest.mark.parametrize("case", EDGE_CASES)
@pytest.mark.parametrize("loss_function", LOSSES)
def test_edge_cases_are_finite_and_near_float64(loss_function, case, dtype):
    features, weight, target = EDGE_CASES[case]
    # Gradients of logits of 1e4 are themselves of that size: scaled, they do overflow in fp16.
    scale = SCALE if dtype == torch.float16 and weight[0] < 100 else 1.0
    operands = [x.to(dtype).requires_grad_() for x in (features, weight)]
    exact = [x.detach().double().requires_grad_() for x in operands]
    gold = loss_and_gradients(reference, exact, target)
    found = loss_and_gradients(loss_function, operands, target, scale)
    for one, other in zip(found, gold):
        assert one.isfinite().all()
        assert (one - other).norm() <= LOSS_ERROR[dtype] * other.norm()


WITH_RDROP = (*TINY_TRANSFORMER, *RDROP, "--dropout=0.2")
FP16 = {
    "memory-efficient": ("--memory-efficient-fp16",),
    "float32 copies": ("--fp16", "--fp16-no-flatten-grads"),
}
TRAININGS = {
    "float32": ((), torch.float32),
    "amp": (("--amp",), torch.float32),  # which on a CPU is float32
    **{name: (flags, torch.float16) for name, flags in FP16.items()},
}


@pytest.fixture
def start_masks(monkeypatch):
    """A function after which dropout draws the same masks again, whatever the precision."""
    generator = torch.Generator()

    def drop(module, x, inplace=False):
        if not module.training or module.p == 0:
            return x
        kept = torch.rand(x.shape, generator=generator) >= module.p
        return x * (kept / (1 - module.p)).to(x.dtype)

    monkeypatch.setattr(FairseqDropout, "forward", drop)
    return lambda: generator.manual_seed(1)


def model_gradient(built, corpus, dtype, loss="reference"):
    """The gradient of a whole model in ``dtype``, of a token."""
    made = built(corpus.translation, *WITH_RDROP, f"--rdrop-loss={loss}")
    made.model.to(dtype).train()
    total, sample_size, _ = made.criterion(made.model, made.sample)
    total.backward()
    gradients = [torch.zeros_like(x) if x.grad is None else x.grad for x in made.model.parameters()]
    return flat(gradients) / sample_size


def flat(tensors):
    return torch.cat([x.detach().double().flatten() for x in tensors])


def first_gradient(optimizer):
    """The gradient of Adam's first update, which is ten times its first moment after that."""
    adam = optimizer.optimizer
    moments = [
        adam.state[x].get("exp_avg", torch.zeros_like(x))
        for group in adam.param_groups
        for x in group["params"]
    ]
    return 10 * flat(moments)


def assert_near(found, gold, dtype):
    assert found.isfinite().all()
    assert (found - gold).norm() <= MODEL_ERROR[dtype] * gold.norm()


@pytest.mark.parametrize("loss", ["fused", "reference"])
@pytest.mark.parametrize("training", TRAININGS)
def test_an_update_of_the_trainer_is_near_float64(
    trainer, built, corpus, start_masks, training, loss
):
    start_masks()
    gold = model_gradient(built, corpus, torch.float64)
    flags, dtype = TRAININGS[training]
    one, sample = trainer(*WITH_RDROP, *flags, f"--rdrop-loss={loss}")
    start_masks()
    one.train_step([sample])
    assert_near(first_gradient(one.optimizer), gold, dtype)


@pytest.mark.parametrize("loss", ["fused", "reference"])
def test_bf16_gradients_are_near_float64(built, corpus, start_masks, loss):
    start_masks()
    gold = model_gradient(built, corpus, torch.float64)
    start_masks()
    assert_near(model_gradient(built, corpus, torch.bfloat16, loss), gold, torch.bfloat16)


@pytest.mark.parametrize("loss", ["fused", "reference"])
@pytest.mark.parametrize("flags", FP16.values(), ids=FP16)
def test_overflow_lowers_the_scale_and_the_next_good_batch_trains(trainer, flags, loss):
    one, sample = trainer(*WITH_RDROP, *flags, f"--fp16-init-scale={2**24}", f"--rdrop-loss={loss}")
    before = flat(one.model.parameters())
    overflows = 0
    while one.train_step([sample]) is None:
        overflows += 1
        assert one.optimizer.scaler.loss_scale == 2.0 ** (24 - overflows)
        assert one.get_num_updates() == 0
        assert torch.equal(flat(one.model.parameters()), before)
    assert 1 <= overflows < 24
    assert one.get_num_updates() == 1
    after = flat(one.model.parameters())
    assert after.isfinite().all() and not torch.equal(after, before)


@pytest.mark.parametrize("flags", FP16.values(), ids=FP16)
def test_no_tensor_outside_fairseqs_trainer_changes_its_way_to_a_gpu(trainer, monkeypatch, flags):
    """Not even while an update overflows, in which fairseq sends a tensor there."""
    one, sample = trainer(*WITH_RDROP, *flags, f"--fp16-init-scale={2**24}")
    ways, train_step, zero_grad = [], one.task.train_step, one.zero_grad

    def note(function, *arguments, **options):
        ways.append(torch.Tensor.cuda)
        return function(*arguments, **options)

    original = torch.Tensor.cuda
    monkeypatch.setattr(one.task, "train_step", partial(note, train_step))
    monkeypatch.setattr(one, "zero_grad", partial(note, zero_grad))
    assert one.train_step([sample]) is None
    assert ways == [original] * 3  # before the update, in it and after the overflow


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_overflow_of_fairseqs_trainer_stays_on_the_cpu():
    from fairseq import trainer

    for value in (trainer.torch.tensor(0.0).cuda(), trainer.torch.tensor(0.0).cuda(None)):
        assert type(value) is torch.Tensor and value.device.type == "cpu"
    with pytest.raises((AssertionError, RuntimeError)):
        torch.tensor(0.0).cuda(non_blocking=True)
