"""Results come in order and the input is not read far ahead, however many workers there are."""

import random
import time

import in_order
import pytest


def doubled(chunk):
    time.sleep(random.random() / 100)
    return [2 * item for item in chunk]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_order(workers, monkeypatch):
    monkeypatch.setattr(in_order, "CHUNK", 7)
    chunks = in_order.map_chunks(doubled, range(200), workers)
    assert [item for chunk in chunks for item in chunk] == list(range(0, 400, 2))


@pytest.mark.parametrize("workers", [1, 2])
def test_the_input_is_read_no_further_than_needed(workers, monkeypatch):
    monkeypatch.setattr(in_order, "CHUNK", 7)
    read = []
    items = (read.append(item) or item for item in range(10_000))
    next(chunks := in_order.map_chunks(doubled, items, workers))
    assert len(read) <= 7 * in_order.AHEAD * workers
    chunks.close()


def failing(chunk):
    raise OSError("no space left")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_worker_arrives(workers):
    with pytest.raises(OSError, match="no space left"):
        list(in_order.map_chunks(failing, range(10), workers))
