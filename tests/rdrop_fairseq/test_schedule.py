"""When there is a second pass, and how strong the KL is: from the definition to whole trainings."""

import re

import pytest
import torch
from helpers.constants import PLAIN, RDROP, TINY_TRANSFORMER, TRAINING, USER_DIR
from helpers.criteria import rows_of_passes
from helpers.launch import fork
from helpers.models import LANGUAGE_MODEL, SIZES
from helpers.trained import trained

import rdrop_fairseq  # noqa: F401  (its allow-list lets torch.load read fairseq's checkpoints)
from rdrop_fairseq.schedule import Schedule


@pytest.mark.parametrize(
    ("schedule", "alphas"),
    [
        (Schedule(4), [4, 4, 4, 4, 4, 4]),
        (Schedule(0, start=2, ramp=2), [0, 0, 0, 0, 0, 0]),
        (Schedule(4, start=2), [0, 0, 4, 4, 4, 4]),
        (Schedule(4, ramp=4), [1, 2, 3, 4, 4, 4]),
        (Schedule(4, ramp=1), [4, 4, 4, 4, 4, 4]),
        (Schedule(4, every=3), [4, 0, 0, 4, 0, 0]),
        (Schedule(4, start=1, ramp=4), [0, 1, 2, 3, 4, 4]),
        (Schedule(4, start=1, every=2), [0, 4, 0, 4, 0, 4]),
        (Schedule(4, start=1, ramp=4, every=2), [0, 1, 0, 3, 0, 4]),
    ],
)
def test_the_weight_of_the_kl_in_each_update(schedule, alphas):
    assert [schedule.alpha_at(update) for update in range(6)] == alphas


def parameters(trainer):
    of_model = trained(dict(trainer.model.named_parameters()))
    return torch.nn.utils.parameters_to_vector(of_model.values())


def steps(trainer, samples, times):
    """Make updates; return what each logs, and the state of the random numbers after it."""
    found = []
    for _ in range(times):
        log = trainer.train_step(samples)
        found.append((log, torch.get_rng_state()))
    return found


RDROP_IN_3 = (*TINY_TRANSFORMER, *RDROP, "--dropout=0.2", "--rdrop-start-update=3")


@pytest.mark.parametrize(
    "criterion",
    [
        (*RDROP, "--rdrop-start-update=3"),
        (*RDROP, "--rdrop-start-update=3", "--rdrop-share=0.5", "--view-cutoff=0.3"),
        (*RDROP, "--rdrop-start-update=3", "--rdrop-second-dropout=0.4"),
        (*RDROP, "--reg-alpha=0", "--rdrop-views=3", "--rdrop-ramp-updates=2"),
        ("--criterion=simcut_label_smoothed_cross_entropy", "--rdrop-start-update=3", PLAIN[1]),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("precision", [(), ("--memory-efficient-fp16",)], ids=["fp32", "fp16"])
def test_an_update_without_a_second_pass_is_plain_to_the_last_digit(trainer, criterion, precision):
    """Loss, log, parameters and random numbers; the update after that is not plain."""
    model = (*TINY_TRANSFORMER, "--dropout=0.2", "--report-accuracy", *precision)
    ours, sample = trainer(*model, *criterion)
    plain, _ = trainer(*model, *PLAIN)
    for (log, drawn), (expected, expected_drawn) in zip(
        steps(ours, [sample], 3), steps(plain, [sample], 3)
    ):
        assert {key: log[key] for key in expected} == expected
        added = {key: log[key] for key in set(log) - set(expected)}
        assert added == {"rdrop_alpha": 0, "rdrop_share": 0, "kl_loss": 0}
        assert torch.equal(drawn, expected_drawn)
    assert torch.equal(parameters(ours), parameters(plain))
    log, expected = ours.train_step([sample]), plain.train_step([sample])
    if "--reg-alpha=0" in criterion:
        assert log["loss"] == expected["loss"]
    else:
        assert log["kl_loss"] > 0
        assert not torch.equal(parameters(ours), parameters(plain))


def test_exactly_the_right_updates_have_two_passes_with_the_right_alpha(trainer):
    schedule = ("--rdrop-start-update=1", "--rdrop-ramp-updates=4", "--rdrop-every=2")
    one, sample = trainer(*TINY_TRANSFORMER, *RDROP, *schedule, "--reg-alpha=4")
    rows, size = rows_of_passes(one.model), len(sample["target"])
    logs = [log for log, _ in steps(one, [sample], 6)]
    assert rows == [size * passes for passes in (1, 2, 1, 2, 1, 2)]
    assert [log["rdrop_alpha"] for log in logs] == [0, 1, 0, 3, 0, 4]
    assert [log["rdrop_share"] for log in logs] == [0, 1, 0, 1, 0, 1]
    assert [log["kl_loss"] > 0 for log in logs] == [False, True] * 3


def test_all_batches_of_an_update_share_its_number(trainer):
    one, sample = trainer(*TINY_TRANSFORMER, *RDROP, "--rdrop-every=2", "--update-freq=2")
    rows, size = rows_of_passes(one.model), len(sample["target"])
    steps(one, [sample, sample], 3)
    assert rows == [size * passes for passes in (2, 2, 1, 1, 2, 2)]


def test_the_log_of_an_interval_has_the_mean_alpha_and_the_kl_of_its_second_passes(
    trainer,
):
    from fairseq.logging import metrics

    one, sample = trainer(*TINY_TRANSFORMER, *RDROP, "--rdrop-every=2", "--reg-alpha=4")
    with metrics.aggregate(new_root=True) as interval:
        logs = [log for log, _ in steps(one, [sample], 4)]
    mean = interval.get_smoothed_values()
    assert (mean["rdrop_alpha"], mean["rdrop_share"]) == (2, 0.5)
    kl = [log["kl_loss"] for log in logs]
    assert mean["kl_loss"] == pytest.approx((kl[0] + kl[2]) / 2, abs=1e-3)


RAMP = ("--rdrop-start-update=1", "--rdrop-ramp-updates=5", "--rdrop-share=0.5")


def test_a_resumed_training_goes_on_in_the_middle_of_the_ramp(trainer, tmp_path):
    arguments = (*TINY_TRANSFORMER, *RDROP, "--dropout=0.2", *RAMP)
    whole, sample = trainer(*arguments)
    steps(whole, [sample], 3)
    whole.consolidate_optimizer()
    whole.save_checkpoint(str(tmp_path / "last.pt"), {"train_iterator": {"epoch": 1}})
    resumed, _ = trainer(*arguments)
    resumed.load_checkpoint(str(tmp_path / "last.pt"))
    expected, found = steps(whole, [sample], 3), steps(resumed, [sample], 3)
    alphas = [[log["rdrop_alpha"] for log, _ in logs] for logs in (expected, found)]
    assert alphas[0] == alphas[1] == [3, 4, 5]
    assert torch.equal(parameters(whole), parameters(resumed))


def test_an_update_that_overflows_in_fp16_is_not_counted(trainer):
    half = ("--memory-efficient-fp16", f"--fp16-init-scale={2**24}")
    one, sample = trainer(*RDROP_IN_3, *half)
    rows, size = rows_of_passes(one.model), len(sample["target"])
    while one.get_num_updates() < 3:
        one.train_step([sample])
    assert len(rows) > 3
    assert set(rows) == {size}
    one.train_step([sample])
    assert rows[-1] == 2 * size


MULTI = ("--task=translation_multi_simple_epoch", "--lang-pairs=de-en", "--langs=de,en")
TASKS = {
    "language_modeling": (*LANGUAGE_MODEL, "--tokens-per-sample=20"),
    "translation_multi_simple_epoch": (*MULTI, *TINY_TRANSFORMER),
    "multilingual_translation": (  # whose train_step is its own
        *("--task=multilingual_translation", "--lang-pairs=de-en"),
        *("--arch=multilingual_transformer", *SIZES),
    ),
}


@pytest.mark.parametrize("name", TASKS)
def test_the_number_of_the_update_comes_in_every_task(built, corpus, name):
    from fairseq.trainer import Trainer

    data = corpus.monolingual if name == "language_modeling" else corpus.translation
    made = built(data, *TASKS[name], *RDROP, "--rdrop-start-update=1", "--rdrop-ramp-updates=2")
    one = Trainer(made.cfg, made.task, made.model, made.criterion)
    alphas = [log["rdrop_alpha"] for log, _ in steps(one, [made.sample], 3)]
    assert alphas == [0, 2.5, 5]


@pytest.mark.parametrize(
    "option", ["--rdrop-start-update=1", "--rdrop-ramp-updates=2", "--rdrop-every=2"]
)
def test_an_unpatched_trainer_is_refused_since_it_tells_no_number(trainer, monkeypatch, option):
    one, sample = trainer(*TINY_TRANSFORMER, *RDROP, option)
    monkeypatch.setattr(type(one.get_criterion()), "set_num_updates", lambda self, update: None)
    with pytest.raises(RuntimeError, match="train without RDROP_FAIRSEQ_PATCHES=off") as error:
        one.train_step([sample])
    assert "\n" not in str(error.value)


def test_without_a_schedule_no_number_is_needed(trainer, monkeypatch):
    one, sample = trainer(*TINY_TRANSFORMER, *RDROP)
    monkeypatch.setattr(type(one.get_criterion()), "set_num_updates", lambda self, update: None)
    assert one.train_step([sample])["rdrop_alpha"] == 5


@pytest.mark.parametrize(
    ("arguments", "what_to_do"),
    [
        (("--adaptive-softmax-cutoff=10,20",), "--adaptive-softmax-cutoff"),
        (("--checkpoint-activations", "--rdrop-second-dropout=0.3"), "--checkpoint-activations"),
    ],
)
def test_what_a_late_start_would_refuse_is_refused_at_the_first_update(
    trainer, arguments, what_to_do
):
    one, sample = trainer(*RDROP_IN_3, *arguments)
    with pytest.raises(NotImplementedError, match=what_to_do):
        one.train_step([sample])


def test_fairseq_train_has_the_parameters_of_a_plain_run_until_the_start(corpus, tmp_path):
    saved, outputs = {}, {}
    for name, criterion in {"plain": PLAIN, "late": (*RDROP, "--rdrop-start-update=4")}.items():
        outputs[name] = fork(
            *("fairseq-train", corpus.translation, USER_DIR, *TRAINING, *TINY_TRANSFORMER),
            *(*criterion, f"--save-dir={tmp_path / name}", "--max-update=5", "--dropout=0.2"),
            *("--save-interval-updates=4", "--disable-validation", "--log-format=json"),
        ).stdout
        names = ("checkpoint_1_4.pt", "checkpoint_last.pt")
        saved[name] = [trained(torch.load(tmp_path / name / file)["model"]) for file in names]
    equal = [
        all(torch.equal(late[name], plain[name]) for name in plain)
        for late, plain in zip(saved["late"], saved["plain"])
    ]
    assert equal == [True, False]
    assert "null" not in outputs["late"] and "nan" not in outputs["late"]
    alphas = re.findall(r'train_inner.*"rdrop_alpha": "([^"]*)"', outputs["late"])
    assert alphas == ["0", "0", "0", "0", "5"]
