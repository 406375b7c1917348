"""The three products of a head in half precision, tried on a CPU as they are made on a GPU."""

import weakref
from functools import partial

import pytest
import torch
from helpers.constants import PAD
from helpers.dropped_terms import DROPPED_TERMS, use_kernel
from helpers.float64 import (
    WANTED,
    assert_no_worse_than_the_reference,
    fused_in_small_chunks,
    gold_of,
    random_case,
    reference_loss,
    results,
)

from rdrop_fairseq.losses import of_features, products
from rdrop_fairseq.losses.fused import linear_rdrop_loss
from rdrop_fairseq.losses.interface import RDropLoss
from rdrop_fairseq.losses.products import (
    HalfGradientProducts,
    HalfProducts,
    Products,
    Scaled,
    product_dtype,
    products_for,
    scale_for_float16,
)

HALF = [torch.float16, torch.bfloat16]
half_types = pytest.mark.parametrize("dtype", HALF, ids=str)
forms = pytest.mark.parametrize("loss_function", [linear_rdrop_loss, fused_in_small_chunks])


def with_wide_output(one, other):
    """What ``out_dtype=torch.float32`` gives: products of half precision, summed in float32."""
    assert one.dtype == other.dtype and one.dtype in HALF
    return torch.mm(one.float(), other.float())


@pytest.fixture(params=["CUDA", "CUDA before PyTorch 2.8", "CPU"])
def half_products(request, monkeypatch):
    """Have half-precision operands multiplied as they are, the way of a device."""
    monkeypatch.setattr(products, "half_is_faster", lambda *_, **__: True)
    if request.param != "CPU":
        monkeypatch.setattr(products, "HalfGradientProducts", HalfProducts)
    if request.param == "CUDA":
        monkeypatch.setattr(products, "wide_product", with_wide_output)
        monkeypatch.setattr(products, "has_wide_output", lambda operand: True)


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 8, 11), (64, 32, 128), (37, 19, 1003)], ids=str)
@pytest.mark.parametrize("views", [2, 3])
@half_types
@forms
def test_errs_no_more_than_the_reference(half_products, loss_function, dtype, views, shape):
    case = random_case(views, *shape, True, dtype)
    assert_no_worse_than_the_reference(loss_function, case)


@pytest.mark.parametrize("scale", [1.0, 128.0, 1024.0, 2.0**16])
@forms
def test_nothing_underflows_or_overflows_under_loss_scaling(half_products, loss_function, scale):
    """The loss is 1 / 1024 of itself, so that the largest scale leaves the gradient finite."""

    def smaller(loss, *arguments):
        total = loss(*arguments)
        return total._replace(loss=total.loss / 1024)

    *operands, target = random_case(2, 16, 8, 4001, False, torch.float16)
    gold = gold_of(operands, target)
    found, reference = (
        results(partial(smaller, loss), operands, target, scale=scale)
        for loss in (loss_function, reference_loss)
    )
    half = torch.finfo(torch.float16)
    for name in ("features", "weight"):
        exact = gold[name] / 1024
        allowed = (reference[name] - exact).abs().max() + half.tiny * half.eps / scale
        tolerance = 4 * half.eps * (exact.abs() + exact.abs().mean())
        assert ((found[name] - exact).abs() <= allowed + tolerance).all(), name


def test_the_smallest_gradients_survive(monkeypatch):
    """Where products have a wide output; float16 itself knows multiples of 6e-8 alone."""
    monkeypatch.setattr(products, "has_wide_output", lambda operand: True)
    gradient = torch.logspace(0, -8, 4001).expand(16, -1)
    made = HalfProducts(torch.float16, torch.ones(4001, 2), 16).cast(gradient)
    found = made.values.double() * made.inverse_scale.double()
    torch.testing.assert_close(found, gradient.double(), rtol=2.0**-11, atol=0)


def test_without_the_scale_they_do_not(monkeypatch):
    monkeypatch.setattr(products, "scale_for_float16", lambda largest, rows: torch.ones(()))
    with pytest.raises(AssertionError):
        test_the_smallest_gradients_survive(monkeypatch)


@half_types
@pytest.mark.parametrize("views", [2, 3])
def test_the_unreduced_form_and_unequal_factors(half_products, dtype, views):
    features, weight, bias, target = random_case(views, 20, 8, 50, True, dtype)
    factor = torch.arange(20) / 8

    def weighted(*arguments):
        each = linear_rdrop_loss(*arguments, reduce=False).loss
        return RDropLoss((each * factor).sum(), None, None)

    exact = [x.detach().double().requires_grad_() for x in (features, weight, bias)]
    gold = results(weighted, exact, target)
    found = results(weighted, (features, weight, bias), target)
    for name in WANTED:
        scale = gold[name].abs().max()
        assert (found[name] - gold[name]).abs().max() < 8 * torch.finfo(dtype).eps * scale, name


@half_types
def test_every_chunk_adds_to_the_weight_in_float32(half_products, monkeypatch, dtype):
    """400 chunks of one token: sums in half precision would err by far more."""
    case = random_case(2, 400, 8, 11, True, dtype)
    totals = []
    add = HalfProducts.add_gradient_of_weight_
    monkeypatch.setattr(
        HalfProducts,
        "add_gradient_of_weight_",
        lambda self, total, *others: totals.append(total.dtype) or add(self, total, *others),
    )
    one_by_one = partial(linear_rdrop_loss, chunk_size=1)
    assert_no_worse_than_the_reference(one_by_one, case)
    assert totals and set(totals) == {torch.float32}


def test_autocast_multiplies_in_its_type(half_products):
    """As --amp on a GPU: operands in float32, products in bfloat16, no worse than the reference."""
    case = random_case(2, 50, 16, 500, True, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert product_dtype(*case[:2]) == torch.bfloat16
        assert_no_worse_than_the_reference(linear_rdrop_loss, case, dtype=torch.bfloat16)
        found = results(linear_rdrop_loss, case[:3], case[3])
    wide = results(linear_rdrop_loss, case[:3], case[3])
    assert not torch.equal(found["weight"], wide["weight"])


def test_the_logits_of_a_chunk_are_gone_before_the_next_are_made(half_products, monkeypatch):
    made = []

    class Watched(HalfProducts):
        def logits(self, inputs):
            assert not any(logits() is not None for logits in made)
            logits = super().logits(inputs)
            made.append(weakref.ref(logits))
            return logits

    monkeypatch.setattr(of_features, "products_for", lambda *arguments: Watched(*arguments))
    case = random_case(2, 7, 8, 11, True, torch.bfloat16)
    linear_rdrop_loss(*case, chunk_size=2)
    assert len(made) == 4


def test_backward_after_autocast_walks_again_in_its_type(half_products, monkeypatch):
    features, weight, bias, target = random_case(2, 5, 4, 9, True, torch.float32)
    dtypes = []
    monkeypatch.setattr(
        of_features, "products_for", lambda *a: dtypes.append(a[0]) or products_for(*a)
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        each = linear_rdrop_loss(features, weight, bias, target, reduce=False).loss
    (each * torch.arange(5)).sum().backward()
    assert dtypes == [torch.bfloat16, torch.bfloat16]


@pytest.mark.parametrize("largest", [1e-30, 1e-5, 0.7, 1.0, 3.0, 64.0, 1e5])
@pytest.mark.parametrize("rows", [1, 8000])
def test_the_scale_is_a_power_of_two_that_fits(largest, rows):
    scale = scale_for_float16(torch.tensor(largest), rows)
    assert torch.frexp(scale).mantissa == 0.5
    most = 2.0**15 / max(rows, 256)  # a CPU rounds the products to float16 as well
    assert scale == 2.0**40 or most / 2 < largest * scale <= most


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_hidden(bad):
    gradient = torch.zeros(3, 5)
    assert not HalfProducts(torch.float16, torch.ones(5, 2), 3).cast(gradient).values.any()
    gradient[1, 1] = bad
    weight = torch.ones(5, 2).half()
    made = HalfProducts(torch.float16, weight, 3)
    inputs, total = torch.ones(3, 2).half(), torch.zeros(5, 2)
    rounded = made.cast(gradient)
    assert not made.gradient_of_inputs(rounded, inputs)[1].isfinite().any()
    made.add_gradient_of_weight_(total, rounded, inputs)
    assert not total[1].isfinite().any()


F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64


@pytest.mark.parametrize(
    "features, weight, autocast, expected",
    [
        *((F16, F16, None, F16), (BF16, BF16, None, BF16), (F32, F32, None, F32)),
        *((F64, F64, None, F64), (F16, F32, None, F32), (F32, F16, None, F32)),
        *((F16, BF16, None, F32), (F32, F32, F16, F16), (F16, F32, F16, F16)),
        *((F16, F16, BF16, BF16), (F64, F64, F16, F64)),
    ],
)
def test_the_type_of_the_products_on_cuda(monkeypatch, features, weight, autocast, expected):
    monkeypatch.setattr(products, "half_is_faster", lambda *_, **__: True)
    monkeypatch.setattr(products, "autocast_dtype", lambda device: autocast)
    assert product_dtype(torch.ones(1, dtype=features), torch.ones(1, dtype=weight)) == expected


@pytest.mark.parametrize("has_instructions", [True, False])
def test_a_cpu_takes_what_was_measured_to_be_faster(monkeypatch, has_instructions):
    name = "_is_avx512_bf16_supported"
    monkeypatch.setattr(torch.cpu, name, lambda: has_instructions, raising=False)
    found = [product_dtype(*(torch.ones(1, dtype=dtype),) * 2) for dtype in (F16, BF16, F32)]
    assert found == [F32, BF16 if has_instructions else F32, F32]
    with torch.autocast("cpu", dtype=BF16):
        assert product_dtype(torch.ones(1), torch.ones(1)) == F32


def test_a_cpu_keeps_the_logits_in_float32():
    weight = torch.randn(7, 4).bfloat16()
    inputs = torch.randn(3, 4).bfloat16()
    exact = inputs.double() @ weight.double().t()
    for dtype, kind in ((BF16, HalfGradientProducts), (F32, Products)):
        made = products_for(dtype, weight, 3)
        assert type(made) is kind
        torch.testing.assert_close(made.logits(inputs.to(dtype)).double(), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("broken", DROPPED_TERMS)
@half_types
def test_the_tests_notice_a_dropped_term(monkeypatch, half_products, dtype, broken):
    use_kernel(monkeypatch, broken)
    with pytest.raises(AssertionError):
        test_errs_no_more_than_the_reference(None, linear_rdrop_loss, dtype, 2, (64, 32, 128))


def test_the_tests_notice_a_scale_that_is_not_undone(monkeypatch, half_products):
    cast = HalfProducts.cast
    monkeypatch.setattr(HalfProducts, "cast", lambda *x: Scaled(cast(*x).values))
    with pytest.raises(AssertionError):
        test_errs_no_more_than_the_reference(
            None, linear_rdrop_loss, torch.float16, 2, (64, 32, 128)
        )


def test_padding_is_left_out(half_products):
    features, weight, _, target = random_case(2, 10, 8, 11, False, torch.float16)
    with torch.no_grad():
        features[:, target.eq(PAD)] = float("nan")
    found = results(linear_rdrop_loss, (features, weight, None), target)
    assert all(values.isfinite().all() for values in found.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_gpu_multiplies_in_half_precision_by_default(dtype, autocast):
    assert products.half_is_faster("cuda", dtype, under_autocast=autocast)
