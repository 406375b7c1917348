"""prepare.sh, train.sh and evaluate.sh of every benchmark, from archives in their real layout."""

import gzip
import html
import io
import json
import os
import re
import sys
import tarfile

import pytest
from helpers import launch
from helpers.benchmarks import SMALL_MODEL
from helpers.constants import EXAMPLES

# An unreachable proxy stands for no network.
UNREACHABLE = "http://127.0.0.1:9"
NO_NETWORK = {"http_proxy": UNREACHABLE, "https_proxy": UNREACHABLE, "no_proxy": ""}


@pytest.fixture
def run(tmp_path):
    """Run a benchmark's script from another directory; return what it printed."""

    def run(benchmark, script, *options, fails=False, **environment):
        words = (EXAMPLES / script, benchmark, "--out", tmp_path / "out", *options)
        where = {"cwd": tmp_path, "environment": environment}
        finished = launch.run("bash", *words, check=False, **where)
        assert bool(finished.returncode) == fails, finished.stdout
        return finished.stdout

    return run


def pack(path, files, mode="w:gz"):
    """Write an archive of {name: bytes}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def training_text(shared_data, lang, count=600):
    """Return lines of IWSLT14's training text, as raw as can be."""
    file = shared_data / "iwslt14" / "expected" / f"valid.{lang}.gz"
    lines = gzip.decompress(file.read_bytes()).decode().splitlines()[:count]
    return "".join(f"{html.unescape(line)}\n" for line in lines)


def lines_of(path):
    return path.read_text("utf-8").splitlines()


def two_updates(run, benchmark, *options, validate=()):
    words = ("--cpu", "--max-updates", "2", *options, "--", *SMALL_MODEL, *validate)
    return run(benchmark, "train.sh", *words)


def test_iwslt14_de_en(shared_data, tmp_path, run):
    data = shared_data / "iwslt14"
    files = {f"de-en/{path.name}": path.read_bytes() for path in data.glob("orig/de-en/*.xml")}
    for lang in ("de", "en"):
        tags = "<url>http://www.ted.com</url>\n<talkid>1</talkid>\n<title>A title</title>\n"
        text = tags + training_text(shared_data, lang)
        files[f"de-en/train.tags.de-en.{lang}"] = text.encode()
    pack(tmp_path / "originals" / "de-en.tgz", files)
    options = ("--orig", "originals", "--subword", "subword-nmt", "--bpe-size", "500")

    printed = run("iwslt14_de_en", "prepare.sh", *options)
    assert "TED.dev2010: 887 pairs, 887 kept" in printed
    assert "not the 160,239 pairs that train usually has" in printed
    assert "not the 6,750 pairs that test usually has" not in printed
    corpus = tmp_path / "out" / "corpus"
    for lang in ("de", "en"):
        test = lines_of(corpus / f"test.{lang}")
        assert len(test) == 6750
        expected = data / "expected"
        assert test[:887] == lines_of(expected / f"IWSLT14.TED.dev2010.de-en.{lang}")
        start = 887 + 1165
        tst2010 = lines_of(expected / f"IWSLT14.TED.tst2010.de-en.{lang}")
        assert test[start : start + 1565] == tst2010
    train, valid = (lines_of(corpus / f"{split}.de") for split in ("train", "valid"))
    assert len(valid) == (len(train) + len(valid)) // 23
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["subwords"]["settings"]["method"] == "subword-nmt"
    dictionaries = [tmp_path / "out" / "binarized" / f"dict.{lang}.txt" for lang in ("de", "en")]
    assert dictionaries[0].read_bytes() == dictionaries[1].read_bytes()
    assert run("iwslt14_de_en", "prepare.sh", *options).count("already there") == 3
    printed = run("iwslt14_de_en", "prepare.sh", "--orig", "originals", fails=True)
    assert "was begun with other settings (subword-nmt 500 --lowercase" in printed

    two_updates(run, "iwslt14_de_en")
    an_epoch = ("--cpu", "--baseline", "--", *SMALL_MODEL, "--max-epoch", "1")
    run("iwslt14_de_en", "train.sh", *an_epoch)
    rdrop, baseline = (tmp_path / "out" / name for name in ("rdrop-alpha5-seed1", "baseline-seed1"))
    assert "kl_loss" in (rdrop / "train.log").read_text()
    assert "kl_loss" not in (baseline / "train.log").read_text()
    assert "valid_bleu" in (rdrop / "train.log").read_text()
    assert list((rdrop / "tensorboard").rglob("events.*"))

    printed = run("iwslt14_de_en", "evaluate.sh", "--cpu", "--beam", "1", "rdrop-alpha5-seed1")
    assert re.search(r"^BLEU = \d+\.\d\d, .*ref_len=\d+", printed, re.M)
    assert "BLEU|nrefs:1|case:lc|eff:no|tok:13a" in printed and "chrF2|" in printed
    assert re.search(r"^==> with compounds split at hyphens\nBLEU = \d", printed, re.M)
    again = run("iwslt14_de_en", "evaluate.sh", "--cpu", "--beam", "1", "rdrop-alpha5-seed1")
    assert "already there" in again
    assert again.splitlines()[-3:] == printed.splitlines()[-3:]
    options = ("--cpu", "--subset", "valid", "--average", "1", "--lenpen", "0.6")
    printed = run("iwslt14_de_en", "evaluate.sh", *options, "baseline-seed1")
    assert "valid, baseline-seed1, average1 checkpoint, beam 5, length penalty 0.6" in printed


@pytest.mark.parametrize("pair, other", [("en_de", "de"), ("en_fr", "fr")])
def test_wmt14(shared_data, tmp_path, run, pair, other):
    originals = tmp_path / "originals"
    table = json.loads((EXAMPLES / f"wmt14_{pair}" / "corpus.json").read_text())
    text = {"en": training_text(shared_data, "en"), other: training_text(shared_data, "de")}
    archives = {}
    for entry in table["texts"]:
        for lang, name in zip(("en", other), entry["files"]):
            content = text[lang].encode()
            if entry["split"] == "test":
                content = (shared_data / "wmt14" / name).read_bytes()
            content = gzip.compress(content) if name.endswith(".gz") else content
            archives.setdefault(entry["archive"], {})[name] = content
    for name, files in archives.items():
        pack(originals / name, files, "w" if name.endswith(".tar") else "w:gz")

    options = ("--orig", str(originals), "--bpe-size", "500")
    if pair == "en_de":
        options += ("--newstest2013",)
    printed = run(f"wmt14_{pair}", "prepare.sh", *options)
    assert "newstest2014: 3,003 pairs, 3,003 kept" in printed
    assert "not the 1,920,209 pairs" in printed or "not the 2,007,723 pairs" in printed
    subwords = tmp_path / "out" / "subwords"
    train = [lines_of(subwords / f"train.{lang}") for lang in ("en", other)]
    for source, target in zip(*train):
        short, long = sorted((len(source.split()), len(target.split())))
        assert short >= 1 and long <= 250 and long <= 1.5 * short
    assert len(lines_of(subwords / "test.en")) == 3003
    assert any("@-@" in line for line in lines_of(tmp_path / "out" / "corpus" / f"train.{other}"))

    processes = "2" if pair == "en_fr" else "1"
    options = ("--alpha", "3", "--processes", processes)
    printed = two_updates(run, f"wmt14_{pair}", *options, validate=("--save-interval-updates", "1"))
    assert f"{processes} x {16 // int(processes)} batches of 4096 tokens an update" in printed
    log = (tmp_path / "out" / "rdrop-alpha3-seed1" / "train.log").read_text()
    assert f"'distributed_world_size': {processes}," in log
    assert log.count('"train_num_updates": "2"') == 1
    printed = run(
        *(f"wmt14_{pair}", "evaluate.sh", "--cpu", "--beam", "1"),
        *("--average", "2", "rdrop-alpha3-seed1"),
    )
    assert "average2 checkpoint, beam 1, length penalty 0.6" in printed
    assert re.search(r"^BLEU = \d+\.\d\d, .*ref_len=\d+", printed, re.M)
    valid = ("--subset", "valid", "rdrop-alpha3-seed1")
    assert "BLEU = " in run(f"wmt14_{pair}", "evaluate.sh", "--cpu", "--beam", "1", *valid)


def test_multi30k_both_ways(shared_data, tmp_path, run):
    orig = str(shared_data / "multi30k")
    printed = run("multi30k_en_de", "prepare.sh", "--orig", orig, **NO_NETWORK)
    assert "corpus: train 29,000, valid 1,014, test 1,000" in printed
    assert "not the" not in printed
    cores = len(os.sched_getaffinity(0))
    assert f" workers={cores}," in (tmp_path / "out" / "preprocess.log").read_text()
    for direction, name in ((), "rdrop-alpha1-seed1"), (("--reverse",), "de-en-rdrop-alpha1-seed1"):
        two_updates(run, "multi30k_en_de", *direction)
        source = "de" if direction else "en"
        printed = run("multi30k_en_de", "evaluate.sh", "--cpu", "--beam", "1", name)
        assert f"==> {source}-" in printed and re.search(r"^BLEU = \d", printed, re.M)


def test_evaluate_has_choices(shared_data, tmp_path, run):
    """Of what translates, of the parameters and of the scores."""
    pytest.importorskip("ctranslate2")
    out = tmp_path / "out"
    run("multi30k_en_de", "prepare.sh", "--orig", str(shared_data / "multi30k"), **NO_NETWORK)
    two_updates(run, "multi30k_en_de", "--ema", "0.9")
    name, fast = "rdrop-alpha1-seed1", ("--cpu", "--beam", "1", "--subset", "valid")
    printed = run("multi30k_en_de", "evaluate.sh", *fast, "--engine", "ctranslate2", name)
    assert re.search(r"^BLEU = \d", printed, re.M) and "translating with ctranslate2" in printed
    assert (out / name / "ctranslate2-best" / "model.bin").exists()
    scores = out / name / "generate-valid-best-beam1-lenpen1-ctranslate2.scores"
    assert scores.read_text() in printed
    again = run("multi30k_en_de", "evaluate.sh", *fast, "--engine", "ctranslate2", name)
    assert "already there" in again
    printed = run("multi30k_en_de", "evaluate.sh", *fast, "--ema", name, "--comet", "none")
    assert "ema checkpoint" in printed
    assert "COMET: left out, it needs pip install unbabel-comet" in printed
    printed = run("multi30k_en_de", "evaluate.sh", "--ema", "--average", "1", name, fails=True)
    assert "give --average or --ema, not both" in printed


@pytest.mark.parametrize(
    "script, options, message",
    [
        ("prepare.sh", ("--orig", "nowhere"), "there is no folder nowhere"),
        ("prepare.sh", ("--subword", "bytes"), "--subword is sentencepiece or subword-nmt"),
        ("prepare.sh", ("--bpe-size", "many"), "--bpe-size must be a whole number above 0"),
        ("prepare.sh", ("--speed",), "unknown option --speed"),
        ("prepare.sh", ("--orig",), "--orig needs a value"),
        ("train.sh", (), "run prepare.sh first"),
        ("train.sh", ("--seed", "0"), "--seed must be a whole number above 0"),
        ("train.sh", ("--nodes", "08"), "--nodes must be a whole number above 0"),
        ("train.sh", ("--nodes", "2", "--node-rank", "2"), "--node-rank is from 0 to 1, not '2'"),
        ("train.sh", ("--nodes", "2"), "2 machines need --master HOST:PORT, the first of them"),
        ("train.sh", ("--node-rank", "first"), "--node-rank is from 0 to 0, not 'first'"),
        ("train.sh", ("--master", "first.example"), "--master is HOST:PORT, not 'first.example'"),
        ("train.sh", ("--bidirectional",), "run prepare.sh --bidirectional first"),
        ("train.sh", ("--simcut", "--baseline"), "give --baseline or --simcut, not both"),
        ("train.sh", ("--bidirectional", "--reverse"), "give --reverse or --bidirectional"),
        ("train.sh", ("--baseline", "--schedule", "late"), "which --baseline does not have"),
        ("train.sh", ("--from", "x", "--name", "x"), "--from must be another run than --name, x"),
        ("train.sh", ("--from", "../x"), "--from is the name of a folder"),
        ("train.sh", ("--ema", "0.0"), "--ema must be between 0 and 1, not '0.0'"),
        ("train.sh", ("--ema", "1.5"), "--ema must be between 0 and 1, not '1.5'"),
        ("evaluate.sh", (), "name the RUN to evaluate"),
        ("evaluate.sh", ("nothing",), "there is no run"),
        ("evaluate.sh", ("--subset", "train", "x"), "--subset is test or valid"),
    ],
)
def test_mistakes_get_one_sentence(run, script, options, message):
    *_, last = run("multi30k_en_de", script, *options, fails=True).splitlines()
    assert last.startswith(f"{script}: ") and message in last


def test_mistakes_of_many_processes(run, tmp_path):
    (tmp_path / "out" / "binarized").mkdir(parents=True)
    three = ("--cpu", "--processes", "3")
    printed = run("multi30k_en_de", "train.sh", *three, fails=True)
    assert "3 processes cannot share an update of 1 x 1024 tokens" in printed
    printed = run("wmt14_en_de", "train.sh", "--cpu", fails=True, WORLD_SIZE="2")
    assert "this script starts torchrun itself" in printed
    printed = run("wmt14_en_de", "train.sh", "--cpu", "--precision", "bf16", fails=True)
    assert "fairseq does not run bf16 on a CPU" in printed


@pytest.mark.parametrize(
    ("benchmark", "gpus", "shared"),
    [("wmt14_en_de", 8, "8 x 2"), ("wmt14_en_de", 6, "4 x 4"), ("multi30k_en_de", 8, "1 x 1")],
)
def test_as_many_gpus_train_as_can_share_an_update(run, tmp_path, benchmark, gpus, shared):
    """With stand-ins for the count of GPUs and for what trains on them."""
    (tmp_path / "out" / "binarized").mkdir(parents=True)
    real_python = f'exec {sys.executable} "$@"'
    count = f"case $2 in *device_count*) echo {gpus};; *) {real_python};; esac"
    stand_ins = {"python": count, "torchrun": "exit 1", "fairseq-train": "exit 1"}
    make_programs(tmp_path / "bin", stand_ins)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    printed = run(benchmark, "train.sh", fails=True, PATH=path)
    assert f": {shared} batches of" in printed and "fp16 on gpu" in printed


@pytest.mark.parametrize(
    ("threads", "shared"), [("", "2 x 1 batches of 512"), ("1", "1 x 1 batches of 1024")]
)
def test_two_processes_of_a_cpu_share_an_update(run, tmp_path, threads, shared):
    (tmp_path / "out" / "binarized").mkdir(parents=True)
    python = f'case $2 in *CORES*) echo 4;; *) exec {sys.executable} "$@";; esac'
    make_programs(
        tmp_path / "bin", {"python": python, "torchrun": "exit 1", "fairseq-train": "exit 1"}
    )
    environment = {
        "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": threads,
    }
    printed = run("multi30k_en_de", "train.sh", "--cpu", fails=True, **environment)
    assert f": {shared} tokens" in printed


def make_programs(folder, commands):
    """Write a bash program for each {name: its only line}."""
    for name, command in commands.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"#!/usr/bin/env bash\n{command}\n")
        (folder / name).chmod(0o755)


def test_packages_of_the_preparation(run, tmp_path):
    """With a stand-in for a Python that lacks them."""
    lacks = f'case $2 in *sacremoses*) exit 1;; *) exec {sys.executable} "$@";; esac'
    make_programs(tmp_path / "bin", {"python": lacks, "fairseq-preprocess": "exit 1"})
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    printed = run("multi30k_en_de", "prepare.sh", fails=True, PATH=path)
    assert re.fullmatch(r"prepare\.sh: sacremoses, .* is not installed here: run pip .*\n", printed)


def test_a_preparation_that_has_made_nothing_takes_other_settings(run, tmp_path):
    for size in ("300", "400"):
        nothing = ("--orig", "nowhere", "--bpe-size", size)
        printed = run("multi30k_en_de", "prepare.sh", *nothing, fails=True)
        assert (
            printed
            == "prepare.sh: there is no folder nowhere: give --orig the folder of the archives\n"
        )
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "benchmark", sorted(path.parent.name for path in EXAMPLES.glob("*/corpus.json"))
)
@pytest.mark.parametrize("script", ["prepare.sh", "train.sh", "evaluate.sh"])
def test_help(run, benchmark, script):
    printed = run(benchmark, script, "--help")
    assert printed.startswith(f"Usage: bash examples/translation/{script} {benchmark}")


def test_help_of_the_slurm_example():
    printed = launch.run("bash", EXAMPLES / "train.sbatch", "--help").stdout
    assert printed.splitlines()[1] == "  sbatch examples/translation/train.sbatch"


def test_without_network_every_missing_file_is_listed(run):
    printed = run("multi30k_en_de", "prepare.sh", fails=True, **NO_NETWORK)
    for name in ("train.en.gz", "val.de.gz", "test_2016_flickr.de.gz"):
        assert re.search(rf"from https://\S*/{name} ", printed)
        assert re.search(rf"to +/.*/out/orig/{name}", printed)


def test_slurm_example_names_the_machines(tmp_path):
    """With stand-ins for SLURM's programs and for train.sh, which prints what it is given."""
    stand_ins = {
        "bin/scontrol": "echo first; echo second",
        "bin/srun": 'exec "$@"',
        "examples/translation/train.sh": 'echo "$@"',
    }
    make_programs(tmp_path, stand_ins)
    slurm = {"SLURM_JOB_NODELIST": "both", "SLURM_NNODES": "2", "SLURM_NODEID": "1"}
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**slurm, "PATH": path}
    options = {"cwd": tmp_path, "environment": environment}
    printed = launch.run("bash", EXAMPLES / "train.sbatch", **options).stdout
    assert printed == "wmt14_en_de --nodes 2 --node-rank 1 --master first:29500\n"
