"""One sample in, two views out, and the caller's sample as it was."""

import copy
from collections import namedtuple

import torch

from rdrop_fairseq.views.repeat import repeat_sample, split_views

Pair = namedtuple("Pair", "left right")
ROWS = torch.arange(6).view(3, 2)


def sample():
    return {
        "id": torch.tensor([7, 8, 9]),
        "nsentences": 3,
        "ntokens": 6,
        "net_input": {
            "src_tokens": ROWS.clone(),
            "src_lengths": torch.tensor([2, 2, 2]),
            "prev_output_tokens": ROWS.clone(),
            "nothing": None,
            "flag": True,
            "scalar": torch.tensor(5.0),
            "other_length": torch.zeros(4),
            "nested": {"rows": ROWS.clone(), "deeper": [ROWS.clone(), "word"]},
            "tuple": (ROWS.clone(), 1),
            "named": Pair(ROWS.clone(), None),
        },
        "target": ROWS.clone(),
        "alignments": torch.zeros(3, 2),
        "align_weights": torch.zeros(3),
    }


def test_every_batch_first_tensor_is_repeated_wherever_it_lies():
    doubled = repeat_sample(sample())
    rows = ROWS.repeat_interleave(2, 0)
    net_input = doubled["net_input"]
    for repeated in (
        doubled["target"],
        net_input["src_tokens"],
        net_input["prev_output_tokens"],
        net_input["nested"]["rows"],
        net_input["nested"]["deeper"][0],
        net_input["tuple"][0],
        net_input["named"].left,
    ):
        assert torch.equal(repeated, rows)
    assert doubled["id"].tolist() == [7, 7, 8, 8, 9, 9]
    assert net_input["src_lengths"].shape == (6,)
    assert isinstance(net_input["named"], Pair)
    assert isinstance(net_input["tuple"], tuple)
    assert isinstance(net_input["nested"]["deeper"], list)


def test_all_else_is_left_alone():
    original = sample()
    doubled = repeat_sample(original)
    assert (doubled["nsentences"], doubled["ntokens"]) == (3, 6)
    for key in ("nothing", "flag", "scalar", "other_length"):
        assert doubled["net_input"][key] is original["net_input"][key]
    for key in ("alignments", "align_weights"):  # as long as the batch only by chance
        assert doubled[key] is original[key]
    assert doubled["net_input"]["nested"]["deeper"][1] == "word"


def test_the_callers_sample_is_not_changed():
    original, untouched = sample(), copy.deepcopy(sample())
    repeat_sample(original, 3)
    assert repr(original) == repr(untouched)


def test_split_views_gives_each_view_in_the_samples_order():
    for views in (2, 3):
        rows = repeat_sample(sample(), views)["target"]
        split = split_views(rows, views)
        assert split.shape == (views, 3, 2)
        assert all(torch.equal(view, ROWS) for view in split)
        assert split.data_ptr() == rows.data_ptr()
