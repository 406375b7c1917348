"""What the README says of fairseq's own R-Drop, ``label_smoothed_cross_entropy_with_rdrop``."""

import pytest
import torch
from helpers.constants import NO_DROPOUT, RDROP, TINY_TRANSFORMER

from rdrop_fairseq.losses.reference import rdrop_loss

builtin = pytest.importorskip(
    "fairseq.criterions.label_smoothed_cross_entropy_with_rdrop",
    reason="fairseq 0.12.2 has no R-Drop of its own",
)
BUILTIN = ("--criterion=label_smoothed_cross_entropy_with_rdrop", "--label-smoothing=0.1")


@pytest.fixture
def both(built, corpus):
    """This criterion and fairseq's on the same batch and weights, without dropout."""

    def build(*arguments):
        common = (*TINY_TRANSFORMER, *NO_DROPOUT, *arguments)
        ours = built(corpus.translation, *common, *RDROP, "--reg-alpha=5")
        theirs = built(corpus.translation, *common, *BUILTIN, "--rdrop-alpha=5")
        theirs.model.load_state_dict(ours.model.state_dict())
        return ours, theirs

    return build


def test_the_objective_is_the_same():
    """fairseq's two kl_div tensors and this project's collapsed KL are one number."""

    class Model:
        get_normalized_probs = staticmethod(
            lambda output, log_probs: output.log_softmax(-1) if log_probs else output.softmax(-1)
        )

    torch.manual_seed(0)
    logits = torch.randn(2, 9, 30, dtype=torch.float64)
    target = torch.randint(2, 30, (9,))
    target[4] = 1
    theirs, _ = builtin.label_smoothed_nll_loss(
        logits.log_softmax(-1).view(18, 30), target.repeat(2), 0.1, ignore_index=1
    )
    padded = target.eq(1).unsqueeze(-1)
    theirs = theirs + 5 * builtin.compute_kl_loss(Model, logits.view(18, 30), padded)
    torch.testing.assert_close(rdrop_loss(logits, target, 5.0, 0.1, 1).loss, theirs)


def test_one_training_batch_has_the_same_loss(both):
    losses = [s.criterion(s.model.train(), s.sample)[0] for s in both()]
    torch.testing.assert_close(*losses)


def test_builtin_changes_the_trainers_sample(both):
    for setup, changed in zip(both(), (False, True)):
        tokens = setup.sample["net_input"]["src_tokens"]
        setup.criterion(setup.model.train(), setup.sample)
        assert (setup.sample["net_input"]["src_tokens"].shape != tokens.shape) == changed


def test_builtin_reports_twice_the_nll_in_training(both):
    ours, theirs = (s.criterion(s.model.train(), s.sample)[2]["nll_loss"] for s in both())
    torch.testing.assert_close(2 * ours, theirs)


def test_builtin_doubles_the_batch_in_validation_too(both):
    for setup, factor in zip(both(), (1, 2)):
        rows = []
        setup.model.encoder.register_forward_hook(
            lambda module, args, kwargs, output, rows=rows: rows.append(
                kwargs["src_tokens"].size(0) if "src_tokens" in kwargs else args[0].size(0)
            ),
            with_kwargs=True,
        )
        sentences = setup.sample["target"].size(0)
        setup.criterion(setup.model.eval(), setup.sample)
        assert rows == [factor * sentences]


def test_builtin_stops_with_an_ignored_prefix(both):
    ours, theirs = both("--ignore-prefix-size=1")
    assert ours.criterion(ours.model.train(), ours.sample)[0].isfinite()
    with pytest.raises(RuntimeError):
        theirs.criterion(theirs.model.train(), theirs.sample)
