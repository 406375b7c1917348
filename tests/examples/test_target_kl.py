"""The alpha that follows a target KL, in a short training on the command line."""

from math import log

import pytest
from helpers.constants import REPOSITORY, TINY_TRANSFORMER, TRAINING
from helpers.launch import run

from rdrop_tools.ablations.plan import read_plan
from rdrop_tools.runs.log import read_entries

STUDY = REPOSITORY / "examples" / "ablations" / "target_kl"


@pytest.mark.parametrize("target", [0, 2], ids=["too strict", "too loose"])
def test_alpha_changes_by_the_violation_of_the_constraint(corpus, tmp_path, target):
    (row, *_) = read_plan(STUDY / "rows.txt").rows
    run(
        *("fairseq-train", corpus.translation, *TRAINING, *TINY_TRANSFORMER, "--dropout=0.3"),
        *(f"--user-dir={STUDY}", f"--criterion={row.method}_label_smoothed_cross_entropy"),
        *(*row.arguments.split(), "--reg-alpha=0.5", f"--target-kl={target}"),
        *("--target-kl-step=0.2", "--max-update=5"),
        *("--log-format=json", f"--log-file={tmp_path / 'log'}", f"--save-dir={tmp_path}"),
    )
    entries = read_entries(tmp_path / "log", "train_inner")
    alphas, kls = ([entry[name] for entry in entries] for name in ("rdrop_alpha", "kl_loss"))
    assert alphas[0] == 0.5 and len(alphas) == 5
    for alpha, kl, following in zip(alphas, kls, alphas[1:]):
        nats = kl * log(2)  # the log is in bits
        assert following == pytest.approx(max(0.001, alpha + 0.2 * (nats - target)), abs=2e-3)
    assert (alphas[-1] > 0.5) == (target == 0)
