"""Two views of two dropout rates, against two passes by hand."""

import pytest
import torch
from fairseq.distributed import ModuleProxyWrapper
from fairseq.modules import FairseqDropout
from helpers.constants import RDROP
from helpers.models import TRANSLATION

from rdrop_fairseq.noise import dropouts
from rdrop_fairseq.views.cutoff import cut_tokens
from rdrop_fairseq.views.rates import TwoRates, dropout_rate
from rdrop_fairseq.views.repeat import repeat_sample

RATES = ("--dropout=0.3", "--attention-dropout=0.2", "--activation-dropout=0")


def rates(model):
    return [m.p for m in model.modules() if isinstance(m, FairseqDropout)]


def test_every_rate_but_0_is_changed_and_restored_even_after_an_exception(transformer):
    model = transformer(*RATES).model
    before = rates(model)
    assert {0.0, 0.2, 0.3} == set(before)
    with pytest.raises(ZeroDivisionError), dropout_rate(model, 0.6):
        assert rates(model) == [0.6 if rate else 0.0 for rate in before]
        raise ZeroDivisionError
    assert rates(model) == before


def test_dropouts_of_torch_and_of_recurrent_layers_count_too():
    inside = torch.nn.LSTM(3, 3, num_layers=2, dropout=0.1)
    model = torch.nn.Sequential(inside, torch.nn.Dropout(0.2), torch.nn.Dropout2d(0.0))
    assert dropouts(model) == [(model[1], "p"), (inside, "dropout")]


@pytest.mark.parametrize("second_rate", [0.0, 0.6])
@pytest.mark.parametrize("cutoff", [0.0, 0.4])
@pytest.mark.parametrize("share", [False, True], ids=["all", "share"])
def test_the_views_are_two_passes_by_hand(transformer, second_rate, cutoff, share):
    setup = transformer(*RATES)
    model, sample = setup.model.train(), setup.sample
    run = lambda sample: model(**sample["net_input"])[0]  # noqa: E731
    size = len(sample["target"])
    chosen = torch.arange(size) % 3 == 1 if share else torch.ones(size, dtype=torch.bool)
    torch.manual_seed(5)
    views = TwoRates(second_rate, cutoff)
    groups = views.groups(model, run, sample, chosen if share else None)

    torch.manual_seed(5)
    first = run(sample)
    for module in model.modules():
        if isinstance(module, FairseqDropout) and module.p:
            module.p = second_rate
    with cut_tokens(model, cutoff, torch.ones(int(chosen.sum()), dtype=torch.bool)):
        second = run(repeat_sample(sample, chosen.long()))
    many = groups[-1]
    assert torch.equal(torch.arange(size)[many.sentences], chosen.nonzero().squeeze(1))
    assert torch.equal(many.output, torch.stack([first[chosen], second]))
    assert len(groups) == 1 + share
    if share:
        one = groups[0]
        assert torch.equal(one.sentences, (~chosen).nonzero().squeeze(1))
        assert torch.equal(one.output, first[~chosen].unsqueeze(0))


@pytest.mark.parametrize("share", ["0.5", "1"])
@pytest.mark.parametrize("name", ["transformer", "lightconv", "fconv", "lstm", "bart"])
def test_every_model_trains_with_two_rates(built, corpus, name, share):
    options = ("--rdrop-second-dropout=0.2", f"--rdrop-share={share}", "--view-cutoff=0.1")
    setup = built(corpus.translation, *TRANSLATION[name], "--dropout=0.5", *RDROP, *options)
    torch.manual_seed(2)
    if name == "lstm" and share != "1":
        with pytest.raises(NotImplementedError, match="does not go with --rdrop-share for this"):
            setup.criterion(setup.model.train(), setup.sample)
        return
    for _ in range(3):
        loss, _, log = setup.criterion(setup.model.train(), setup.sample)
        loss.backward()
        assert loss.isfinite() and log["kl_loss"] > 0


class Wrapper(torch.nn.Module):
    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *args, **kwargs):
        return self.module(*args, **kwargs)


class FullyShardedDataParallel(Wrapper):
    pass


class DistributedDataParallel(Wrapper):
    find_unused_parameters = True


@pytest.mark.parametrize(
    ("wrapper", "option", "message"),
    [
        (FullyShardedDataParallel, "--rdrop-share=0.5", "--rdrop-share and --ddp-backend fully_sh"),
        (FullyShardedDataParallel, "--dropout=0.3", None),
        (DistributedDataParallel, "--encoder-layerdrop=0.5", "LayerDrop and --find-unused-param"),
        (DistributedDataParallel, "--dropout=0.3", None),
    ],
)
def test_wrappers_that_cannot_have_two_passes(transformer, wrapper, option, message):
    setup = transformer("--rdrop-second-dropout=0.2", option)
    model = ModuleProxyWrapper(wrapper(setup.model)).train()
    if message is None:
        assert setup.criterion(model, setup.sample)[0].isfinite()
    else:
        with pytest.raises(NotImplementedError, match=message):
            setup.criterion(model, setup.sample)


def test_layers_that_are_computed_again_are_refused(transformer):
    setup = transformer("--rdrop-second-dropout=0.2", "--checkpoint-activations")
    with pytest.raises(NotImplementedError, match="does not go with --checkpoint-activations"):
        setup.criterion(setup.model.train(), setup.sample)
