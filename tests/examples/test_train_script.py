"""What train.sh has fairseq-train do, by a stand-in that notes its arguments."""

import re
import shlex
import sys
import zipfile

import pytest
from helpers.benchmarks import Scripts
from helpers.constants import EXAMPLES

BENCHMARKS = sorted(path.parent.name for path in EXAMPLES.glob("*/corpus.json"))


@pytest.fixture
def train(tmp_path):
    """Run a benchmark's train.sh; return its exit status, what it said, what fairseq-train got."""
    for name in ("binarized", "binarized-bidirectional"):
        (tmp_path / "out" / name).mkdir(parents=True)
    scripts = Scripts(tmp_path)
    given = tmp_path / "given"

    def train(benchmark, *options, gpus=0, ends="exit", **environment):
        scripts.options["env"].update(environment)
        words = (f'printf "%s\\n" "$@" >{given}', 'while [ "$1" != --save-dir ]; do shift; done')
        scripts.stand_in("fairseq-train", *words, 'touch "$2/checkpoint_last.pt"', ends)
        count = f'case $2 in *device_count*) echo {gpus};; *) exec {sys.executable} "$@";; esac'
        scripts.stand_in("python", count)
        given.unlink(missing_ok=True)
        status, said = scripts.run("train.sh", *options, benchmark=benchmark)
        return status, said, given.read_text().splitlines() if given.exists() else None

    return train


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_the_baseline_differs_in_the_criterion_alone(train, tmp_path, benchmark):
    _, _, rdrop = train(benchmark, "--alpha", "3")
    _, _, baseline = train(benchmark, "--baseline")
    place = rdrop.index("--reg-alpha")
    assert rdrop[place + 1] == "3"
    del rdrop[place : place + 2]
    replaced = {"rdrop_label_smoothed_cross_entropy": "label_smoothed_cross_entropy"}
    rdrop = [
        replaced.get(word, word.replace("rdrop-alpha3-seed1", "baseline-seed1")) for word in rdrop
    ]
    assert rdrop == baseline
    assert str(tmp_path / "out" / "baseline-seed1") in baseline


@pytest.mark.parametrize(
    ("gpus", "precision", "flags"),
    [
        (1, (), {"--fp16"}),
        (1, ("--precision", "bf16"), {"--bf16"}),
        (1, ("--precision", "fp32"), set()),
        (1, ("--cpu",), {"--cpu"}),
        (0, (), {"--cpu"}),
        (0, ("--precision", "fp16"), {"--cpu", "--memory-efficient-fp16"}),
    ],
)
def test_precision(train, gpus, precision, flags):
    status, _, given = train("iwslt14_de_en", *precision, gpus=gpus)
    assert status == 0
    known = {"--fp16", "--bf16", "--cpu", "--memory-efficient-fp16", "--amp"}
    assert known & set(given) == flags


@pytest.mark.parametrize("processes", [1, 2])
def test_the_command_of_one_process_is_printed(train, processes):
    said = train("iwslt14_de_en", "--cpu", "--processes", processes, ends="exit 1")[1]
    (command,) = re.findall(r"^==> in one process: fairseq-train (.*)$", said, re.MULTILINE)
    assert shlex.split(command) == train("iwslt14_de_en", "--cpu", "--processes", "1")[2]


def test_a_finished_training_is_not_continued(train):
    assert train("iwslt14_de_en")[2]
    status, said, given = train("iwslt14_de_en")
    assert (status, given) == (0, None) and "already trained: " in said
    assert train("iwslt14_de_en", "--max-updates", "300001")[2]


def test_a_training_that_stopped_is_continued(train):
    assert train("iwslt14_de_en", ends="exit 1")[0] == 1
    assert train("iwslt14_de_en")[2]


def test_a_training_is_not_continued_with_other_settings(train, tmp_path):
    train("iwslt14_de_en", ends="exit 1")
    status, said, given = train("iwslt14_de_en", "--", "--lr", "7")
    assert (status, given) == (1, None)
    assert "rdrop-alpha5-seed1 was begun with other settings (de-en --criterion" in said
    assert "7" in train("iwslt14_de_en", "--name", "other", "--", "--lr", "7")[2]
    (tmp_path / "out" / "rdrop-alpha5-seed1" / "settings").unlink()
    assert train("iwslt14_de_en", "--", "--lr", "7")[0] == 0


def test_the_settings_count_in_a_folder_that_reads_like_a_pattern(train, tmp_path):
    (tmp_path / "runs[1]").mkdir()
    (tmp_path / "out" / "binarized").rename(tmp_path / "runs[1]" / "binarized")
    out = ("--out", tmp_path / "runs[1]")
    assert train("iwslt14_de_en", *out, ends="exit 1")[2]
    status, said, given = train("iwslt14_de_en", *out, "--", "--lr", "7")
    assert (status, given) == (1, None) and "was begun with other settings" in said


@pytest.mark.parametrize("sign", ":,")
def test_a_folder_that_fairseq_would_split_is_refused(train, tmp_path, sign):
    status, said, given = train("iwslt14_de_en", "--out", tmp_path / f"a{sign}b")
    assert (status, given) == (2, None)
    assert "--out must be a path without colons and commas, where fairseq would split it" in said


def test_a_torn_checkpoint_gives_way_to_the_one_before(train, tmp_path):
    run = tmp_path / "out" / "rdrop-alpha5-seed1"
    run.mkdir()
    with zipfile.ZipFile(run / "checkpoint3.pt", "w") as checkpoint:
        checkpoint.writestr("archive/data.pkl", "the model")
    whole = (run / "checkpoint3.pt").read_bytes()
    (run / "checkpoint_last.pt").write_bytes(whole[:-9])
    for made_by_evaluate in ("average10", "ema"):
        with zipfile.ZipFile(run / f"checkpoint_{made_by_evaluate}.pt", "w") as checkpoint:
            checkpoint.writestr("archive/data.pkl", "a model without an optimizer, and newer")
    _, said, given = train("iwslt14_de_en")
    assert given and "checkpoint_last.pt was cut short: going back to the one before" in said
    assert (run / "checkpoint_last.pt").read_bytes() == whole


def test_a_checkpoint_that_cannot_be_read_is_kept(train, tmp_path):
    last = tmp_path / "out" / "rdrop-alpha5-seed1" / "checkpoint_last.pt"
    last.mkdir(parents=True)
    status, said, given = train("iwslt14_de_en")
    assert (status, given) == (1, None)
    assert said.endswith(f"train.sh: {last} could not be checked; the line above says why\n")
    assert last.exists()


def test_settings_count_once_there_is_a_checkpoint(train, tmp_path):
    """A mistyped argument trains nothing, and the corrected command is not refused."""
    run = tmp_path / "out" / "typo"
    ends = f"rm {run}/checkpoint_last.pt; exit 2"
    assert train("iwslt14_de_en", "--name", "typo", "--", "--lrr", "1", ends=ends)[0] == 1
    assert (run / "settings").exists()
    status, said, given = train("iwslt14_de_en", "--name", "typo", "--", "--lr", "1")
    assert status == 0 and "--lrr" not in given and "--lr" in given, said
    assert train("iwslt14_de_en", "--name", "typo", "--", "--lr", "2")[0] == 1


WRONG_NAMES = ("", "a:b", "../x", "a/b", "/x", "..", ".", ".x", "-x")
OF_PREPARE = (
    "corpus",
    "subwords",
    "binarized",
    "binarized-bidirectional",
    "orig",
    "settings",
    "manifest.json",
)


@pytest.mark.parametrize(
    "name",
    [
        *(*WRONG_NAMES, *OF_PREPARE, "preprocess.log", "binarized.tmp", "bidirectional.tmp"),
        *("dict.txt", "pretrained.pt"),
    ],
)
def test_a_name_that_is_not_for_a_run_is_refused(train, tmp_path, name):
    before = sorted(tmp_path.rglob("*"))
    status, said, given = train("iwslt14_de_en", "--name", name)
    assert (status, given) == (2, None)
    if name in WRONG_NAMES:
        rule = "the name of a folder, without / and : and not beginning with - or ."
        assert said == f"train.sh: --name is {rule}, not '{name}'; see --help.\n"
    else:
        assert f"--name {name} is what prepare.sh makes" in said and said.count("\n") == 1
    programs = {tmp_path / "programs" / name for name in ("fairseq-train", "python")}
    assert {*tmp_path.rglob("*")} == {*before, *programs}


def test_a_wrong_number_makes_no_folder(train, tmp_path):
    status, said, given = train("iwslt14_de_en", "--alpha", "abc")
    assert (status, given) == (2, None)
    assert said == "train.sh: --alpha must be a number, not 'abc'; see --help.\n"
    assert [path.name for path in (tmp_path / "out").glob("*alpha*")] == []


def value(given, option):
    """Return what follows an option in the arguments of fairseq-train."""
    return given[given.index(option) + 1]


def test_a_baseline_with_an_alpha_is_refused(train):
    status, said, given = train("iwslt14_de_en", "--baseline", "--alpha", "3")
    assert (status, given) == (2, None)
    assert "--alpha is the weight of the KL, which --baseline does not have" in said


def test_arguments_of_the_user_count_in_several_processes_too(train, tmp_path):
    torchrun = tmp_path / "programs" / "torchrun"
    torchrun.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path / "of_torchrun"}\n')
    torchrun.chmod(0o755)
    train("iwslt14_de_en", "--processes", "2", "--", "--ddp-backend", "pytorch_ddp", gpus=2)
    given = (tmp_path / "of_torchrun").read_text().splitlines()
    backends = [value for word, value in zip(given, given[1:]) if word == "--ddp-backend"]
    assert backends == ["legacy_ddp", "pytorch_ddp"]


def test_simcut_differs_from_rdrop_in_criterion_and_alpha(train):
    rdrop, simcut = train("iwslt14_de_en")[2], train("iwslt14_de_en", "--simcut")[2]
    swapped = {"simcut_label_smoothed_cross_entropy": "rdrop_label_smoothed_cross_entropy"}
    names = [
        swapped.get(word, word.replace("simcut-alpha3-seed1", "rdrop-alpha5-seed1"))
        for word in simcut
    ]
    assert value(simcut, "--reg-alpha") == "3" and swapped.keys() & {*simcut}
    names[names.index("--reg-alpha") + 1] = "5"
    assert names == rdrop


@pytest.mark.parametrize(
    ("benchmark", "method", "start"),
    [
        ("iwslt14_de_en", "rdrop-alpha5", "225000"),
        ("wmt14_en_fr", "rdrop-alpha5", "225000"),
        ("multi30k_en_de", "rdrop-alpha1", "15000"),
        ("iwslt14_de_en", "simcut-alpha3", "225000"),
    ],
)
def test_a_late_start_differs_in_the_start_alone(train, benchmark, method, start):
    simcut = ("--simcut",) if method.startswith("simcut") else ()
    late = train(benchmark, *simcut, "--schedule", "late")[2]
    paper = train(benchmark, *simcut, "--schedule", "paper")[2]
    assert "already trained: " in train(benchmark, *simcut)[1]  # paper is the default
    assert value(late, "--rdrop-start-update") == start
    place = late.index("--rdrop-start-update")
    assert value(late, "--save-dir").endswith(f"/{method}-late-seed1")
    left = [word.replace("-late-seed1", "-seed1") for word in late]
    assert left[:place] + left[place + 2 :] == paper


def test_a_late_start_is_a_share_of_the_updates(train):
    late = ("iwslt14_de_en", "--schedule", "late", "--max-updates", "1000")
    assert value(train(*late)[2], "--rdrop-start-update") == "750"


def test_a_training_of_both_directions_has_its_own_data_and_name(train, tmp_path):
    both = train("iwslt14_de_en", "--bidirectional")[2]
    one = train("iwslt14_de_en")[2]
    assert both[0] == str(tmp_path / "out" / "binarized-bidirectional")
    moved = [word.replace("/bidirectional-rdrop", "/rdrop") for word in both[1:]]
    assert moved == one[1:] and moved != both[1:]


def test_a_moving_average_is_asked_for_before_the_arguments_of_the_user(train, tmp_path):
    half = train("iwslt14_de_en", "--ema", "0.99", "--precision", "fp16", "--name", "half")[2]
    assert "--ema-fp32" in half  # else what an update adds is rounded away
    given = train("iwslt14_de_en", "--ema", "0.99", "--", "--lr", "7")[2]
    assert "--ema-fp32" not in given
    assert given[given.index("--store-ema") :][:5] == [
        "--store-ema",
        "--ema-decay",
        "0.99",
        "--lr",
        "7",
    ]
    old = ("--", "--store-ema", "--ema-decay", "0.99", "--lr", "7")  # how it was asked for before
    assert "already trained: " in train("iwslt14_de_en", *old)[1]


@pytest.fixture
def start(tmp_path):
    """Make the best checkpoint of the run `first`; return its file."""
    file = tmp_path / "out" / "first" / "checkpoint_best.pt"
    file.parent.mkdir(parents=True)
    with zipfile.ZipFile(file, "w") as checkpoint:
        checkpoint.writestr("archive/data.pkl", "the model")
    return file


def test_a_run_starts_from_another_one_until_it_has_its_own_checkpoint(train, start, tmp_path):
    status, _, given = train("iwslt14_de_en", "--from", "first", ends="exit 1")
    assert value(given, "--finetune-from-model") == str(start)
    assert value(given, "--save-dir") == str(tmp_path / "out" / "rdrop-alpha5-seed1-from-first")
    start.unlink()
    status, said, given = train("iwslt14_de_en", "--from", "first")
    assert status == 0 and given, said
    # the run that it started from belongs to its settings
    for words in ((), ("--from", "second")):
        again = (*words, "--name", "rdrop-alpha5-seed1-from-first", "--max-updates", "7")
        assert "was begun with other settings" in train("iwslt14_de_en", *again)[1]


def test_a_run_to_start_from_must_have_a_whole_checkpoint(train, start, tmp_path):
    start.write_bytes(start.read_bytes()[:-9])
    status, said, given = train("iwslt14_de_en", "--from", "first")
    assert (status, given) == (1, None) and "is cut short or damaged" in said
    status, said, given = train("iwslt14_de_en", "--from", "nothing")
    assert (status, given) == (1, None)
    assert said.endswith("/nothing/checkpoint_best.pt: train nothing first\n")
    assert [path.name for path in (tmp_path / "out").glob("*from*")] == []


@pytest.mark.parametrize("gpus", [0, 1])
def test_a_training_on_a_cpu_keeps_its_memory(train, tmp_path, gpus):
    noted = f"env | grep ^MALLOC_ | sort >{tmp_path / 'malloc'}; exit"
    set_by_the_user = {"MALLOC_TRIM_THRESHOLD_": "5"}
    train("iwslt14_de_en", gpus=gpus, ends=noted, **set_by_the_user)
    kept = [] if gpus else ["MALLOC_MMAP_MAX_=0"]
    assert (tmp_path / "malloc").read_text().split() == [*kept, "MALLOC_TRIM_THRESHOLD_=5"]
