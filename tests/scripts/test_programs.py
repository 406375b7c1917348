"""The programs in scripts/ as a person runs them: by their path, from any folder."""

import re
import subprocess
from pathlib import Path

import pytest
from helpers import launch

from rdrop_tools.extras import EXTRAS

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
PROGRAMS = sorted(SCRIPTS.glob("*.py"))
# Runs a program in a Python that has none of the packages of the extras.
WITHOUT_EXTRAS = f"""
import runpy, sys

class Missing:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {sorted(EXTRAS)}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing)
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(program, *arguments, folder):
    # -I leaves out the folder of the program, PYTHONPATH and the like: installed packages alone
    options = {"cwd": folder, "stderr": subprocess.PIPE}
    return launch.run("python", "-I", program, *arguments, check=False, **options)


def test_there_are_programs():
    assert {"compare.py", "prepare_corpus.py", "show_training.py"} <= {p.name for p in PROGRAMS}


def test_the_list_of_programs_is_the_folder():
    listed = re.findall(r"^\| `(\S+)` \| \w", (SCRIPTS / "README.md").read_text(), re.MULTILINE)
    assert listed == sorted(path.name for path in SCRIPTS.glob("*.*") if path.name != "README.md")


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_every_program_has_help_in_any_folder(program, tmp_path):
    finished = run(program, "--help", folder=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(f"usage: {program.name} [-h]")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_every_program_has_help_without_the_packages_of_the_extras(program, tmp_path):
    finished = run("-c", WITHOUT_EXTRAS, program, "--help", folder=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(f"usage: {program.name} [-h]")


@pytest.mark.parametrize(
    ("program", "options", "package", "extra"),
    [
        ("plot_training.py", ["LOG", "--out=a.png"], "matplotlib", "plots"),
        ("score_bleu.py", ["--sys=LOG", "--ref=LOG", "--detokenize=de"], "sacremoses", "corpus"),
        ("score_rouge.py", ["--sys=LOG", "--ref=LOG"], "rouge-score", "rouge"),
        ("export_ctranslate2.py", ["RUN", "--out=a"], "ctranslate2", "ctranslate2"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(program, options, package, extra, tmp_path):
    (tmp_path / "LOG").write_text('{"epoch": 1, "num_updates": "9", "nll_loss": "1"}\n')
    finished = run("-c", WITHOUT_EXTRAS, SCRIPTS / program, *options, folder=tmp_path)
    assert finished.returncode == 1
    install = f"run pip install 'rdrop_fairseq[{extra}]'."
    assert finished.stderr == f"{program}: needs {package}: {install}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["LOG"]


def test_the_packages_are_those_of_the_extras():
    setup = (SCRIPTS.parent / "setup.py").read_text()
    for module, extra in EXTRAS.items():
        (packages,) = re.findall(rf"^{extra.upper()} = \[(.*?)\]", setup, re.MULTILINE)
        assert f'"{module.replace("_", "-")}' in packages


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.name)
def test_every_program_refuses_an_unknown_option(program, tmp_path):
    finished = run(program, "--nonsense", folder=tmp_path)
    assert finished.returncode == 2
    assert f"{program.name}: error: " in finished.stderr


def test_a_message_begins_with_the_name_of_the_program(tmp_path):
    finished = run(
        SCRIPTS / "score_bleu.py", "--sys", "nowhere", "--ref", "nowhere", folder=tmp_path
    )
    assert finished.returncode == 1
    assert finished.stderr == "score_bleu.py: [Errno 2] No such file or directory: 'nowhere'\n"


def test_curves_are_drawn_without_the_scoring(tmp_path):
    code = "import sys, rdrop_tools.runs.plot; sys.exit('sacrebleu' in sys.modules)"
    launch.run("python", "-I", "-c", code, cwd=tmp_path)


def test_a_program_is_only_a_door_to_the_library():
    assert all(len(program.read_text().splitlines()) < 15 for program in PROGRAMS)
