"""The quickstart: its stages with stand-ins for the slow programs, and once as a user runs it."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
from helpers.constants import REPOSITORY
from helpers.launch import run
from helpers.quickstart import QUICKSTART, Checkout


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path / "checkout")


def programs(calls):
    return [call.split()[0] for call in calls]


def test_every_stage_in_its_order(checkout):
    status, output, calls = checkout.run()
    assert status == 0, output
    assert re.findall(r"\[(\d)/6\]", output) == list("123456")
    assert programs(calls) == [
        *("prepare_home_assistant.py", "prepare_home_assistant.py", "subwords.py"),
        *("fairseq-preprocess", "fairseq-train", "fairseq-train", "fairseq-train"),
        *("fairseq-generate", "score_bleu.py", "plot_training.py"),
    ]
    assert re.findall(r"(?:source|reference|hypothesis) +(\w+ \d)", output) == [
        f"{kind} {n}" for n in range(5) for kind in ("source", "target", "result")
    ]
    assert f"Model    {checkout.work}/rdrop-12min/model.pt" in output


def test_it_ends_with_a_translator(checkout):
    """The command that it prints is run by bash as it stands there."""
    translate = checkout.folder / "scripts" / "translate.sh"
    translate.write_text('printf "%s\\n" "$@"')
    _, output, _ = checkout.run()
    own_text = output.split("To translate your own text:")[1]
    assert run("bash", "-c", own_text).stdout.splitlines() == [
        *(str(checkout.work / "rdrop-12min"), "--lenpen", "1.5"),
        "Turn on the light in the kitchen.",
    ]


def test_the_scores_say_with_which_search(checkout):
    checkout.run()
    scores = (checkout.work / "rdrop-12min" / "generate.scores").read_text()
    assert scores.startswith("      translated with --beam 5 --lenpen 1.5 ")


def test_the_log_has_everything(checkout):
    _, output, _ = checkout.run()
    log = (checkout.work / "quickstart.log").read_text()
    missing = [line for line in output.splitlines() if line not in log]
    assert missing == []
    assert '"nll_loss": "7"' in log


@pytest.mark.parametrize("has_gpu", [False, True])
def test_a_training_on_a_cpu_keeps_its_memory(checkout, has_gpu):
    checkout.has_gpu(has_gpu)
    noted = checkout.folder / "noted"
    program = checkout.folder / ".venv" / "bin" / "fairseq-train"
    program.write_text(f"#!/bin/sh\nenv | grep -c ^MALLOC_ >{noted}\nexit 1\n")
    checkout.run()
    assert noted.read_text() == ("0\n" if has_gpu else "2\n")


def test_another_seed_has_trainings_of_its_own(checkout):
    checkout.run("--compare")
    status, output, calls = checkout.run("--compare", "--seed", "2")
    assert status == 0, output
    trainings = [call for call in calls if call.startswith("fairseq-train")]
    assert [given(training, "seed") for training in trainings] == ["2"] * 4
    folders = {given(training, "save-dir") for training in trainings}
    assert folders == {
        str(checkout.work / f"{name}-12min-seed2") for name in ("start", "rdrop", "plain")
    }
    assert f"Model    {checkout.work}/rdrop-12min-seed2/model.pt" in output


def test_a_second_run_makes_nothing_again(checkout):
    checkout.run("--compare")
    status, _, calls = checkout.run("--compare")
    assert status == 0
    # what only looks at the wheel, or prints
    assert programs(calls) == [
        *("prepare_home_assistant.py", "score_bleu.py", "compare.py", "plot_training.py")
    ]


@pytest.mark.parametrize(
    ("setting", "folder"),
    [
        (("rdrop_alpha=1 ", "rdrop_alpha=0.5 "), "rdrop-12min"),
        (("--dropout 0.1", "--dropout 0.2"), "start-12min"),
        (("--beam 5", "--beam 4"), "rdrop-12min"),
        (("bpe_size=4000", "bpe_size=3000"), ""),
    ],
)
def test_what_was_made_with_other_settings_is_refused(checkout, setting, folder):
    checkout.run()
    path = checkout.folder / QUICKSTART.parent / "quickstart" / "settings.sh"
    before = path.read_text()
    assert before.count(setting[0]) == 1
    path.write_text(before.replace(*setting))
    status, output, calls = checkout.run()
    assert status == 1
    where = (checkout.work / folder).resolve()
    assert f"{where} was begun with other settings (" in output
    assert "fairseq-train" not in programs(calls)
    path.write_text(before)
    assert checkout.run()[0] == 0


def given(training, option):
    """The last value of an option counts."""
    return re.findall(rf"--{option} (\S+)", training)[-1]


@pytest.fixture
def trainings(checkout):
    """The calls of fairseq-train: constant rate, falling rate, end with R-Drop, end without."""
    _, _, calls = checkout.run("--compare", "--minutes", "6")
    return [call for call in calls if call.startswith("fairseq-train")]


@pytest.fixture
def settings(checkout):
    text = (checkout.folder / QUICKSTART.parent / "quickstart" / "settings.sh").read_text()
    return {name: float(value) for name, value in re.findall(r"^(\w+)=([\d.e-]+)", text, re.M)}


def test_the_end_alone_is_with_rdrop_and_to_compare_without(trainings, settings):
    assert {given(training, "criterion") for training in trainings} == {
        "rdrop_label_smoothed_cross_entropy"
    }
    alphas = [float(given(training, "reg-alpha")) for training in trainings]
    assert alphas == [0, 0, settings["rdrop_alpha"], 0]
    # Apart from alpha, the folder and the number of updates the ends are equal.
    own = r"--(?:reg-alpha|total-num-update|max-update) \S+|(?:rdrop|plain)-6min"
    ends = [re.sub(own, "", training) for training in trainings[2:]]
    assert ends[0] == ends[1]


def test_each_training_has_its_share_of_the_time(trainings, settings):
    hours = [float(given(training, "stop-time-hours")) for training in trainings]
    shares = (settings["constant_share"], settings["plain_share"], 1, 1)
    assert hours == pytest.approx([share * 6 / 60 for share in shares])
    assert "--lr-scheduler fixed" in trainings[0]
    # 40 updates at the constant rate, as the stand-in says
    total = int(40 / settings["constant_share"])
    start = int(total * settings["plain_share"])
    last = [int(given(training, "max-update")) for training in trainings[1:]]
    assert last == [start, int(start + (total - start) / settings["rdrop_update"]), total]


def test_the_learning_rate_falls_to_zero_without_a_jump(trainings, settings):
    def rate_at(update, training):
        peak = float(given(training, "lr"))
        begin, end = (int(given(training, o)) for o in ("warmup-updates", "total-num-update"))
        return peak * (end - update) / (end - begin)

    start = int(given(trainings[1], "max-update"))
    assert rate_at(40, trainings[1]) == settings["peak_rate"]
    for end in trainings[2:]:
        assert "--lr-scheduler polynomial_decay" in end
        assert rate_at(start, end) == pytest.approx(rate_at(start, trainings[1]), rel=1e-5)
        assert given(end, "total-num-update") == given(end, "max-update")


def test_both_ends_go_on_from_the_checkpoint_before_them(checkout):
    checkout.run()
    start = checkout.work / "start-12min" / "checkpoint_last.pt"
    with zipfile.ZipFile(start, "w") as whole:
        whole.writestr("the start", "")
    _, _, calls = checkout.run("--compare")
    assert [p for p in programs(calls) if p == "fairseq-train"] == ["fairseq-train"]
    assert "continues from ['the start']" in (checkout.work / "quickstart.log").read_text()


@pytest.mark.parametrize("cores", [1, 2])
def test_two_cores_share_each_update(checkout, cores):
    may_use = sorted(os.sched_getaffinity(0))[:cores]
    if len(may_use) < cores:
        pytest.skip(f"needs {cores} cores")
    _, _, calls = checkout.run(preexec_fn=lambda: os.sched_setaffinity(0, may_use))
    trainings = [call for call in calls if call.startswith("fairseq-train")]
    for call in trainings:
        assert f"--max-tokens {1024 // cores} " in call
        assert f"--distributed-world-size {cores}" in call


@pytest.mark.parametrize(
    "broken",
    [
        *("--out {work}/corpus", "subwords", "fairseq-preprocess", "lr-scheduler fixed"),
        *("lr-scheduler polynomial_decay", "fairseq-generate", "score_bleu", "plot_training"),
    ],
)
def test_a_failed_stage_stops_with_its_message_and_is_repeated(checkout, broken):
    broken = broken.format(work=checkout.work)
    status, output, calls = checkout.run(broken=broken)
    assert status not in (0, 130)
    assert broken in calls[-1]
    assert "it broke" in output and f"{checkout.work}/quickstart.log" in output
    status, _, again = checkout.run()
    assert status == 0
    first_call = (
        1 if programs(again)[1] != "score_bleu.py" else programs(again).index(programs(calls)[-1])
    )
    assert broken in again[first_call]


def test_a_torn_checkpoint_gives_way_to_the_one_before(checkout):
    checkout.run(broken="lr-scheduler polynomial_decay")
    model = checkout.work / "start-12min"
    (model / "checkpoint_last.pt").write_bytes(b"PK\3\4 and then the power failed")
    with zipfile.ZipFile(model / "checkpoint_2_400.pt", "w") as whole:
        whole.writestr("it", "is whole")
    status, output, _ = checkout.run()
    assert status == 0
    assert "checkpoint_last.pt was cut short" in output
    assert "continues from ['it']" in (checkout.work / "quickstart.log").read_text()


def test_a_start_whose_only_checkpoint_is_torn_is_trained_again(checkout):
    checkout.run()
    (checkout.work / "start-12min" / "checkpoint_last.pt").write_bytes(b"PK\3\4 and no more")
    status, output, calls = checkout.run("--compare")
    assert status == 0
    assert programs(calls).count("fairseq-train") == 3
    assert "checkpoint_last.pt was cut short" in output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frobnicate"], "unknown option --frobnicate"),
        (["--lang"], "--lang needs a value"),
        (["--minutes", "soon"], "--minutes must be a number, not 'soon'"),
        (["--minutes", "0"], "--minutes must be above 0, not '0'"),
        (["--minutes", "-3"], "--minutes must be above 0, not '-3'"),
    ],
)
def test_wrong_options_are_refused(checkout, options, message):
    status, output, calls = checkout.run(*options)
    assert (status, output, calls) == (2, f"quickstart.sh: {message}; see --help.\n", [])


def test_the_printed_command_is_quoted(tmp_path):
    """By a shell that reads it: with stand-ins for the programs that it names."""
    checkout = Checkout(tmp_path / "a checkout of 'mine' $(touch made)")
    work = checkout.folder / "my out" / "en-de"
    _, output, _ = checkout.run("--out", "my out")
    translate = checkout.folder / "scripts" / "translate.sh"
    translate.write_text("printf '%s\\n' \"$@\"\n")
    printed = run("bash", "-c", output.split("To translate your own text:")[1], cwd=tmp_path)
    words = printed.stdout.splitlines()
    assert words == [
        *(str(work / "rdrop-12min"), "--lenpen", "1.5"),
        "Turn on the light in the kitchen.",
    ]
    assert not list(tmp_path.rglob("made"))


def obey_the_modes_of_files():
    """As a user other than root has to: without CAP_DAC_OVERRIDE after the next exec."""
    PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)


@pytest.fixture
def read_only(checkout, tmp_path):
    """Run the quickstart from a checkout that nobody can write to, with a virtual environment."""
    active, folders = tmp_path / "active", [checkout.folder, checkout.folder / "scripts"]
    shutil.move(checkout.folder / ".venv", active)
    checkout.calls_file = tmp_path / "calls"
    for folder in folders:
        folder.chmod(0o555)

    def read_only(**environment):
        environment = {**checkout.environment(), "VIRTUAL_ENV": str(active), **environment}
        more = {"env": environment, "preexec_fn": obey_the_modes_of_files}
        return checkout.run("--out", str(tmp_path / "out"), **more)

    yield read_only
    for folder in folders:
        folder.chmod(0o755)


def test_where_the_checkout_is_read_only_the_active_environment_is_used(read_only, tmp_path):
    python = tmp_path / "active" / "bin" / "python"
    python.unlink()  # it has only the standard library, where it stands
    python.write_text(f'#!/usr/bin/env bash\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    status, output, calls = read_only()
    assert status == 0, output
    assert f"checkout cannot be written to: using {tmp_path}/active" in output
    assert "installed" not in output
    assert "fairseq-train" in programs(calls)
    assert "/scripts/translate.sh " in output


@pytest.mark.parametrize(
    ("active", "sentence"),
    [
        ("", "checkout cannot be written to: activate a virtual environment that has the plugin"),
        ("active", "active lacks fairseq rdrop_fairseq sacrebleu sentencepiece matplotlib tqdm"),
    ],
)
def test_where_the_checkout_is_read_only_an_environment_is_needed(
    read_only, tmp_path, active, sentence
):
    python = tmp_path / "active" / "bin" / "python"
    python.write_text(f'#!/usr/bin/env bash\nexec {sys.executable} -S "$@"\n')  # no site-packages
    status, output, calls = read_only(VIRTUAL_ENV=str(tmp_path / active) if active else "")
    assert (status, calls) == (1, [])
    assert re.search(rf"^quickstart\.sh: .*{sentence}$", output, re.M), output


def test_help_names_every_option(checkout):
    status, output, calls = checkout.run("--help")
    assert (status, calls) == (0, [])
    script = (REPOSITORY / QUICKSTART).read_text()
    handled = {f"--{name}" for name in re.findall(r"^ +(?:option|flag) (\w+)", script, re.M)}
    described = set(re.findall(r"^  (--\w+)", output, re.M))
    options = {"--lang", "--minutes", "--seed", "--compare", "--smoke", "--out", "--help"}
    assert described == options
    assert described <= {*handled, "--help"}


@pytest.mark.corpus
@pytest.mark.slow
def test_as_a_user_runs_it(tmp_path):
    """The smoke run, the command that it prints at the end, and the run again."""
    if not (REPOSITORY / ".venv" / "installed").exists():
        pytest.skip("needs the .venv that scripts/install.sh makes")
    command = ("bash", REPOSITORY / QUICKSTART, "--smoke", "--compare", "--out", tmp_path)
    output = run(*command).stdout
    work = tmp_path / "en-de-smoke"
    assert re.search(r"^BLEU\|nrefs:1\|.* = \d", output, re.M)
    assert re.search(r"^chrF2\|nrefs:1\|.* = \d", output, re.M)
    assert re.search(r"^R-Drop .* p=\d", output, re.M)
    assert (work / "training.png").read_bytes().startswith(b"\x89PNG")
    own_text = output.split("To translate your own text:")[1]
    translated = run("bash", "-c", own_text, stderr=subprocess.DEVNULL)
    assert translated.stdout.strip()
    models = {model: model.stat().st_mtime for model in work.glob("*/model.pt")}
    assert len(models) == 2
    run(*command)
    assert {model: model.stat().st_mtime for model in work.glob("*/model.pt")} == models
