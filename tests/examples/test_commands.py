"""How the programs of the benchmarks are called: by name, from anywhere, and as they once were."""

import os
import re
import shutil
import subprocess

import pytest
from helpers import launch
from helpers.constants import EXAMPLES, REPOSITORY

BENCHMARKS = sorted(path.parent.name for path in EXAMPLES.glob("*/corpus.json"))
MOVED = ("iwslt14_de_en", "multi30k_en_de", "wmt14_en_de", "wmt14_en_fr")
"""The benchmarks whose folders once had programs of their own."""
PROGRAMS = ("prepare.sh", "train.sh", "evaluate.sh")
OPTIONS = {
    "prepare.sh": {
        *(
            "--orig",
            "--subword",
            "--bpe-size",
            "--train-pairs",
            "--workers",
            "--bidirectional",
            "--out",
            "--help",
        ),
    },
    "train.sh": {
        *("--baseline", "--alpha", "--seed", "--reverse", "--max-updates", "--precision", "--cpu"),
        *("--processes", "--nodes", "--node-rank", "--master", "--name", "--out", "--help"),
        *("--simcut", "--schedule", "--bidirectional", "--from", "--ema"),
    },
    "evaluate.sh": {
        *("--average", "--ema", "--subset", "--beam", "--lenpen", "--engine", "--comet", "--cpu"),
        *("--out", "--help"),
    },
}


def run(*command, cwd=REPOSITORY):
    """Return the exit status, the output and the errors of a bash command."""
    finished = launch.run("bash", *command, check=False, cwd=cwd, stderr=subprocess.PIPE)
    return finished.returncode, finished.stdout, finished.stderr


def test_the_published_benchmarks_are_there():
    assert set(MOVED) <= set(BENCHMARKS)


@pytest.mark.parametrize("benchmark", [*BENCHMARKS, None])
@pytest.mark.parametrize("program", PROGRAMS)
def test_help_names_every_option_and_benchmark(program, benchmark):
    words = [benchmark] if benchmark else []
    status, printed, errors = run(EXAMPLES / program, *words, "--help")
    assert (status, errors) == (0, "")
    usage = f"Usage: bash examples/translation/{program} {benchmark or 'NAME'} "
    assert printed.startswith(usage)
    described = set(re.findall(r"^  (--[\w-]+)", printed, re.M))
    own = {"--newstest2013"} if (program, benchmark) == ("prepare.sh", "wmt14_en_de") else set()
    assert described == OPTIONS[program] | own
    assert ", ".join(BENCHMARKS) in printed


@pytest.mark.parametrize(
    ("program", "benchmark", "defaults"),
    [
        ("prepare.sh", "wmt14_en_de", {"subword": "sentencepiece", "bpe-size": "40000"}),
        ("train.sh", "wmt14_en_fr", {"alpha": "5, SimCut 3", "max-updates": "300000", "seed": "1"}),
        ("train.sh", "multi30k_en_de", {"alpha": "1, SimCut 0.5", "master": "localhost:0"}),
        ("evaluate.sh", "wmt14_en_fr", {"beam": "4", "lenpen": "0.6", "subset": "test"}),
        ("evaluate.sh", "iwslt14_de_en", {"out": f"{REPOSITORY}/runs/iwslt14_de_en"}),
    ],
)
def test_help_shows_the_defaults_of_the_benchmark(program, benchmark, defaults):
    _, printed, _ = run(EXAMPLES / program, benchmark, "--help")
    for name, value in defaults.items():
        assert re.search(rf"^  --{name} [^(]*\({re.escape(value)}\)$", printed, re.M), name


@pytest.mark.parametrize("words", [(), ("multi30k",), ("--cpu",), ("",), ("../translation",)])
@pytest.mark.parametrize("program", PROGRAMS)
def test_an_unknown_benchmark_is_refused_with_a_list_of_them(program, words):
    name = words[0] if words else ""
    listed = f"{', '.join(BENCHMARKS[:-1])} or {BENCHMARKS[-1]}"
    message = f"{program}: the first argument, the benchmark, is {listed}, not '{name}'"
    assert run(EXAMPLES / program, *words) == (2, "", f"{message}; see --help.\n")


@pytest.mark.parametrize("benchmark", [name for name in BENCHMARKS if name != "wmt14_en_de"])
def test_only_one_benchmark_has_another_validation_set(benchmark):
    refused = (2, "", "prepare.sh: unknown option --newstest2013; see --help.\n")
    assert run(EXAMPLES / "prepare.sh", benchmark, "--newstest2013") == refused


@pytest.mark.parametrize("benchmark", MOVED)
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_commands_of_old_name_the_new_ones(program, benchmark):
    old = f"examples/translation/{benchmark}/{program}"
    new = f"examples/translation/{program} {benchmark}"
    sentence = f"{program}: the benchmark is now an argument: bash {new}"
    assert run(old) == (2, "", f"{sentence}\n")
    assert run(EXAMPLES / benchmark / program, "--cpu", "a run") == (
        *(2, "", f"{sentence} --cpu a\\ run\n"),
    )
    assert run(program, cwd=EXAMPLES / benchmark) == (2, "", f"{sentence}\n")


@pytest.mark.parametrize("program", [*PROGRAMS, "quickstart.sh"])
def test_the_programs_run_from_any_folder_and_in_any_folder(program, tmp_path):
    checkout = tmp_path / "a $(checkout) 'of' mine"
    copied = checkout / "examples" / "translation"
    shutil.copytree(EXAMPLES.parent, checkout / "examples", symlinks=True)
    words = ("--help",) if program == "quickstart.sh" else ("multi30k_en_de", "--help")
    command = os.path.relpath(copied / program, tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    for cwd, path in {
        copied: program,
        tmp_path / "elsewhere": command,
        "/": copied / program,
    }.items():
        status, printed, errors = run(path, *words, cwd=cwd)
        assert (status, errors) == (0, "")
        assert str(checkout) in printed


@pytest.mark.parametrize("program", [*PROGRAMS, "quickstart.sh"])
@pytest.mark.parametrize("out", ["", "-dash", "a:b", "/nowhere/a:b/c"])
def test_a_place_that_fairseq_would_misread_is_refused(program, out, tmp_path):
    words = () if program == "quickstart.sh" else ("multi30k_en_de",)
    status, printed, errors = run(EXAMPLES / program, *words, "--out", out, cwd=tmp_path)
    assert (status, printed, errors.count("\n")) == (2, "", 1)
    assert errors.startswith(f"{program}: --out ") and errors.endswith(
        f", not '{out}'; see --help.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", '{"languages": ["de", "en"]}'])
def test_a_damaged_description_of_a_corpus_is_an_error_in_a_sentence(tmp_path, text):
    shutil.copytree(EXAMPLES.parent, tmp_path / "examples")
    translation = tmp_path / "examples" / "translation"
    (translation / "iwslt14_de_en" / "corpus.json").write_text(text)
    (tmp_path / "out" / "binarized").mkdir(parents=True)
    words = ("iwslt14_de_en", "--cpu", "--out", tmp_path / "out")
    finished = launch.run("bash", translation / "train.sh", *words, check=False)
    assert (finished.returncode, finished.stdout.count("\n")) == (1, 1)
    assert "iwslt14_de_en/corpus.json is not a corpus description" in finished.stdout
