"""A training that was killed at any moment continues to the very parameters of an undisturbed one.

R-Drop keeps no state of its own between updates: alpha and the sentences with a second view follow
from the number of the update and the seed. What must come back is fairseq's: model, optimizer,
number of the update, learning rate, data, dropout.
"""

from functools import partial

import pytest
import torch
from helpers.constants import RDROP, TINY_TRANSFORMER, TRAINING, USER_DIR
from helpers.injection import inject, kill_this_process, raise_disk_full
from helpers.launch import fork
from helpers.trained import NEVER_TRAINED

import rdrop_fairseq.compat.checkpoints  # noqa: F401  (lets torch.load read checkpoints)

pytestmark = pytest.mark.faults
SAVES_OFTEN = (  # saves between epochs, as train.sh of WMT14 does, and after them, as the others do
    *(USER_DIR, *TRAINING, *TINY_TRANSFORMER, *RDROP, "--dropout=0.1"),
    "--lr-scheduler=inverse_sqrt",
    *("--warmup-updates=4", "--max-update=13", "--save-interval-updates=3"),
    *("--keep-interval-updates=2", "--keep-last-epochs=2"),
)


SCHEDULE = (  # at the 13 updates of this training: plain, in the ramp, every second one, and behind
    *("--rdrop-start-update=3", "--rdrop-ramp-updates=6", "--rdrop-every=2", "--rdrop-share=0.5"),
    "--view-cutoff=0.2",
)
VIEWS = {
    "two rates": ("--rdrop-second-dropout=0.4", "--rdrop-share=0.5"),
    "three views": ("--rdrop-views=3", "--rdrop-share=0.5"),
    "SimCut": ("--criterion=simcut_label_smoothed_cross_entropy",),
}


def trains(data, folder, *arguments, **options):
    """Train in a fork, with checkpoints in ``folder``."""
    words = (*SAVES_OFTEN, *arguments, f"--save-dir={folder}")
    return fork("fairseq-train", data, *words, **options)


@pytest.fixture(scope="module")
def undisturbed(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    trains(corpus.translation, folder)
    return folder


@pytest.fixture(scope="module")
def scheduled(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("scheduled")
    trains(corpus.translation, folder, *SCHEDULE)
    return folder


def checkpoints(folder):
    """Load every file that looks like a whole checkpoint: {name: state}."""
    return {path.name: torch.load(path) for path in folder.glob("*.pt")}


def leaves(tree, place=()):
    """Yield (place, value) of all values in nested dictionaries and lists that training sets."""
    if isinstance(tree, (dict, list)):
        for key, branch in tree.items() if isinstance(tree, dict) else enumerate(tree):
            if not NEVER_TRAINED.search(str(key)):
                yield from leaves(branch, (*place, key))
    else:
        yield place, tree


def assert_same(found, expected):
    found, expected = dict(leaves(found)), dict(leaves(expected))
    assert found.keys() == expected.keys()
    for place, value in expected.items():
        equal = torch.equal if torch.is_tensor(value) else type(value).__eq__
        assert equal(found[place], value), place


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("moment", "count"),
    [
        *(("update", 2), ("update", 8), ("validation", 2), ("validation", 4)),
        *(("writing", 1), ("writing", 3), ("renaming", 2)),
        *(("copying", 2), ("copying", 3), ("copying", 4), ("saved", 2), ("saved", 6)),
    ],
)
def test_ends_as_if_never_killed(corpus, undisturbed, tmp_path, moment, count):
    train = partial(trains, corpus.translation, tmp_path)
    fault = partial(inject, kill_this_process, moment, count)
    assert train(prepare=fault, check=False).returncode == -9
    checkpoints(tmp_path)  # whatever has the name of a checkpoint can be loaded
    train()
    assert_as_undisturbed(tmp_path, undisturbed)


@pytest.mark.parametrize(("moment", "count"), [("update", 5), ("update", 8), ("writing", 2)])
def test_a_schedule_goes_on_where_it_was_killed(corpus, scheduled, tmp_path, moment, count):
    train = partial(trains, corpus.translation, tmp_path, *SCHEDULE)
    fault = partial(inject, kill_this_process, moment, count)
    assert train(prepare=fault, check=False).returncode == -9
    train()
    assert_as_undisturbed(tmp_path, scheduled)


@pytest.mark.parametrize("name", VIEWS)
def test_other_views_go_on_where_they_were_killed(corpus, tmp_path, name):
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    trains(corpus.translation, undisturbed, *VIEWS[name])
    train = partial(trains, corpus.translation, killed, *VIEWS[name])
    fault = partial(inject, kill_this_process, "update", 8)
    assert train(prepare=fault, check=False).returncode == -9
    train()
    assert_as_undisturbed(killed, undisturbed)


@pytest.mark.parametrize(("moment", "count"), [("writing", 3), ("copying", 4)])
def test_a_disk_that_is_full_for_a_moment(corpus, undisturbed, tmp_path, moment, count):
    train = partial(trains, corpus.translation, tmp_path)
    stopped = train(prepare=partial(inject, raise_disk_full, moment, count), check=False)
    assert stopped.returncode == 1
    assert "No space left on device" in stopped.stdout
    checkpoints(tmp_path)
    train()
    assert_as_undisturbed(tmp_path, undisturbed)


def assert_as_undisturbed(folder, undisturbed):
    assert names(folder) == names(undisturbed)
    expected = checkpoints(undisturbed)
    for name, state in checkpoints(folder).items():
        assert_same(state["model"], expected[name]["model"])
        assert_same(state["last_optimizer_state"], expected[name]["last_optimizer_state"])
