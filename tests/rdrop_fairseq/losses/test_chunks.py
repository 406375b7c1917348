"""How many tokens are in a chunk: within a budget, whatever vocabulary, width, views and type."""

import pytest
import torch

from rdrop_fairseq.losses import chunks
from rdrop_fairseq.losses.chunks import MIB, tokens_in_a_chunk
from rdrop_fairseq.losses.fused import linear_rdrop_loss

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def held(tokens, views, classes, width, dtype):
    """Bytes of a chunk's logits, of their gradient in half precision, and so for the features."""
    bytes_each = {torch.float64: 8, torch.float32: 4, torch.bfloat16: 6, torch.float16: 6}[dtype]
    return tokens * views * (classes + width) * bytes_each


@pytest.mark.parametrize("budget", [None, 1, 100, 5000])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("views, classes, width", [(2, 10152, 512), (3, 40000, 1024), (2, 5, 3)])
@pytest.mark.parametrize("device, default", [(CPU, 64), (CUDA, 1024)], ids=["cpu", "cuda"])
def test_a_chunk_fills_its_budget(
    monkeypatch, device, default, views, classes, width, dtype, budget
):
    monkeypatch.setattr(chunks, "free_memory", lambda device: 80 * 2**30)
    tokens = tokens_in_a_chunk(views, classes, width, dtype, device, budget)
    sizes = views, classes, width, dtype
    memory = (budget or default) * MIB
    assert held(tokens, *sizes) <= memory < held(tokens + 1, *sizes)


@pytest.mark.parametrize("budget", [None, 5000])
def test_on_a_gpu_it_has_a_quarter_of_what_is_free(monkeypatch, budget):
    monkeypatch.setattr(chunks, "free_memory", lambda device: 400 * MIB)
    tokens = tokens_in_a_chunk(2, 40000, 1024, torch.float16, CUDA, budget)
    sizes = 2, 40000, 1024, torch.float16
    assert held(tokens, *sizes) <= 100 * MIB < held(tokens + 1, *sizes)


def test_there_is_always_one_token(monkeypatch):
    monkeypatch.setattr(chunks, "free_memory", lambda device: 0)
    for device in (CPU, CUDA):
        assert tokens_in_a_chunk(2, 10**7, 1024, torch.float32, device, 1) == 1


def test_the_budget_reaches_the_loss_and_changes_no_number(monkeypatch):
    torch.manual_seed(0)
    features, weight = torch.randn(2, 60, 8).double(), torch.randn(3001, 8).double()
    target = torch.randint(2, 3001, (60,))
    sizes, cut = [], chunks.slices
    monkeypatch.setattr(
        "rdrop_fairseq.losses.of_features.slices",
        lambda n, size: sizes.append(size) or cut(n, size),
    )
    whole = linear_rdrop_loss(features, weight, None, target)
    parts = linear_rdrop_loss(features, weight, None, target, chunk_memory=1)
    assert sizes == [60, tokens_in_a_chunk(2, 3001, 8, torch.float64, CPU, 1)]
    assert sizes[1] < 30
    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("budget", [0, -1])
def test_no_memory_at_all_is_refused(budget):
    with pytest.raises(ValueError, match="--rdrop-chunk-memory"):
        linear_rdrop_loss(
            torch.ones(2, 3, 4), torch.ones(5, 4), None, torch.ones(3).long(), chunk_memory=budget
        )
