"""Nobody gets in: through a checkpoint, through an archive, or through the project's own code."""

import ast
import os
import re
import stat
import typing
from fractions import Fraction

import pytest
import torch
from helpers.constants import REPOSITORY, TINY_TRANSFORMER, TRAINING, USER_DIR
from helpers.hostile import RunsACommand, needs_checked_types
from helpers.launch import fork, run

from rdrop_fairseq.compat.checkpoints import checkpoint_types
from rdrop_tools.atomic import atomic_file

AVERAGE = REPOSITORY / "scripts" / "average_checkpoints.py"


@pytest.fixture
def hostile(tmp_path):
    """A checkpoint that makes the file ``the_command_ran`` next to it, if it is let."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    content = {"args": None, "cfg": RunsACommand(folder / "the_command_ran"), "model": {}}
    torch.save(content, folder / "checkpoint_last.pt")
    return folder / "checkpoint_last.pt"


def command_ran(checkpoint):
    return (checkpoint.parent / "the_command_ran").exists()


def test_the_hostile_checkpoint_is_armed(hostile):
    """Else the tests below would show nothing."""
    torch.load(hostile, weights_only=False)
    assert command_ran(hostile)


def run_average(checkpoint):
    out = checkpoint.parent / "mean.pt"
    return run("python", AVERAGE, "--inputs", checkpoint, "--out", out, check=False)


FAIRSEQ_PROGRAMS = {
    "fairseq-train": ("translation", *TINY_TRANSFORMER, *TRAINING, "--save-dir={folder}"),
    "fairseq-generate": ("translation", "--cpu", "--path={checkpoint}"),
    "fairseq-interactive": ("translation", "--cpu", "--path={checkpoint}"),
    "fairseq-validate": (
        *("translation", "--task=translation", "--cpu", "--max-tokens=100"),
        "--path={checkpoint}",
    ),
    "fairseq-eval-lm": ("monolingual", "--cpu", "--path={checkpoint}"),
}


@needs_checked_types
@pytest.mark.parametrize("name", FAIRSEQ_PROGRAMS)
def test_fairseq_refuses_a_hostile_checkpoint(corpus, hostile, name):
    data, *options = FAIRSEQ_PROGRAMS[name]
    places = {"folder": hostile.parent, "checkpoint": hostile}
    options = [option.format(**places) for option in options]
    result = fork(name, getattr(corpus, data), USER_DIR, *options, check=False)
    assert result.returncode == 1
    last_line = result.stdout.strip().split("\n")[-1]
    assert f"{hostile} was not loaded: it asks for posix.system" in last_line
    assert "weights_only" not in result.stdout  # PyTorch's advice how to load it regardless
    assert not command_ran(hostile)


@needs_checked_types
def test_an_old_checkpoint_is_loaded_as_the_documents_say(corpus, tmp_path):
    """It asks for a type that the plugin does not allow, and that a plugin of the user's does."""
    train = ("fairseq-train", corpus.translation, *TRAINING, *TINY_TRANSFORMER, "--max-update=1")
    fork(*train, f"--save-dir={tmp_path}", USER_DIR, "--no-epoch-checkpoints")
    checkpoint = tmp_path / "checkpoint_last.pt"
    torch.save({**torch.load(checkpoint), "old": Fraction(1, 3)}, checkpoint)
    security = (REPOSITORY / "docs" / "security.md").read_text("utf-8")
    (plugin,) = re.findall(r"^```python\n([^`]*add_safe_globals.*?)^```", security, re.M | re.S)
    (tmp_path / "allowed").mkdir()
    (tmp_path / "allowed" / "__init__.py").write_text(plugin)
    translate = ("fairseq-generate", corpus.translation, "--cpu", "--beam=1", "--max-len-b=3")
    refused = fork(*translate, f"--path={checkpoint}", USER_DIR, check=False)
    assert "it asks for fractions.Fraction" in refused.stdout
    loaded = fork(*translate, f"--path={checkpoint}", f"--user-dir={tmp_path / 'allowed'}")
    assert loaded.stdout.count("\nD-") == 53


@needs_checked_types
def test_averaging_refuses_a_hostile_checkpoint(hostile):
    finished = run_average(hostile)
    assert finished.returncode == 1
    last_line = finished.stdout.strip().split("\n")[-1]
    assert last_line.startswith(f"average_checkpoints.py: {hostile} was not loaded")
    assert "Traceback" not in finished.stdout
    assert sorted(path.name for path in hostile.parent.iterdir()) == ["checkpoint_last.pt"]


def test_the_allow_list_holds_no_function_that_could_harm():
    """Types that only hold data, and NumPy's function that makes an empty array."""
    entries = [entry[0] if isinstance(entry, tuple) else entry for entry in checkpoint_types()]
    others = [x for x in entries if not isinstance(x, type) and x is not typing.Any]
    assert {function.__name__ for function in others} == {"_reconstruct"}


@pytest.fixture
def no_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def test_half_made_outputs_are_private(tmp_path, no_umask):
    with atomic_file(tmp_path / "out") as half_made:
        half_made.touch()
        assert stat.S_IMODE(half_made.parent.stat().st_mode) == 0o700


OWN_CODE = [
    path
    for folder in ("rdrop_fairseq", "rdrop_tools", "scripts", "benchmarks", "examples", ".ci")
    for path in sorted((REPOSITORY / folder).rglob("*"))
    if path.is_file() and path.suffix in (".py", ".sh", ".sbatch", "")
]


def dangers(code):
    """Return what in a Python program may run what a file or a user says."""
    return [
        f"line {call.lineno}: {danger}"
        for call in ast.walk(ast.parse(code))
        if isinstance(call, ast.Call)
        for danger in dangers_of_a_call(call)
    ]


UNSAFE_CALLS = re.compile(
    r"eval|exec|compile|__import__|os\.(system|popen|exec\w+|spawn\w+)|tempfile\.mktemp"
    r"|(pickle|marshal|dill|cloudpickle|joblib|shelve)\.(loads?|dumps?|open|Unpickler|Pickler)"
    r"|yaml\.(load|unsafe_load)|.*\.extract|.*\.unpack_archive"
)


def dangers_of_a_call(call):
    name = ast.unparse(call.func)
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if UNSAFE_CALLS.fullmatch(name):
        yield name
    if given.get("shell", "False") != "False":
        yield "shell=True"
    if given.get("allow_pickle", "False") != "False":
        yield "allow_pickle=True"
    if name == "torch.load" and given.get("weights_only", "False") == "False":
        yield "torch.load without weights_only"
    if name.endswith(".extractall") and given.get("filter") != "'data'":
        yield "extractall without the data filter"


@pytest.mark.parametrize(
    "code",
    [
        *("eval(x)", "exec(x)", "os.system(x)", "pickle.loads(x)", "tempfile.mktemp()"),
        *("subprocess.run(x, shell=True)", "torch.load(x)", "torch.load(x, weights_only=False)"),
        *("np.load(x, allow_pickle=True)", "tar.extractall(x)", "tar.extract(x, y)"),
    ],
)
def test_dangers_are_found(code):
    assert dangers(f"if x:\n    {code}")


@pytest.mark.parametrize(
    "code",
    [
        *("model.eval()", "re.compile(x)", "subprocess.run([x])", "tar.extractfile(x)"),
        *("torch.load(x, weights_only=True)", "tar.extractall(x, filter='data')"),
    ],
)
def test_harmless_code_is_none(code):
    assert not dangers(code)


def relative(path):
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("path", [p for p in OWN_CODE if p.suffix == ".py"], ids=relative)
def test_no_python_of_the_project_runs_what_a_file_says(path):
    assert dangers(path.read_text("utf-8")) == []


SHELL_DANGER = re.compile(r"(^|[;&|({]|\b(then|do|else)\b)\s*eval\b|\b(curl|wget)\b|/tmp/")


@pytest.mark.parametrize("path", [p for p in OWN_CODE if p.suffix != ".py"], ids=relative)
def test_no_shell_script_evaluates_text_or_fetches_unverified(path):
    lines = path.read_text("utf-8").splitlines()
    assert [line for line in lines if SHELL_DANGER.search(line.partition("#")[0])] == []


def test_there_is_code_to_look_at():
    names = {relative(path) for path in OWN_CODE}
    assert {"rdrop_tools/corpus/raw_text.py", "rdrop_fairseq/compat/checkpoints.py"} <= names
    assert {"scripts/compare.py", "examples/lib/options.sh", ".ci/run"} <= names
