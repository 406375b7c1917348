"""The quickstart: its stages with stand-ins for the slow programs, and once as a user runs it."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
QUICKSTART = Path("examples/translation/quickstart.sh")

# Stands for any program: notes its call, makes what that program would make, and fails if told to.
STAND_IN = f"""#!{sys.executable}
import os, sys, zipfile
from pathlib import Path

name = Path(sys.argv[0]).name
with open(os.environ["CALLS"], "a") as calls:
    print(name, *sys.argv[1:], file=calls)
given = dict(zip(sys.argv[1:], sys.argv[2:]))
if name == "home_assistant_corpus.py":
    Path(given["--wheel"]).touch()
if name == "fairseq-train":
    folder = Path(given["--save-dir"])
    print('{{"epoch": 1, "nll_loss": "7", "num_updates": "40", "wall": "6"}}')
    Path(given["--log-file"]).write_text('"train_num_updates": "40"')
    last = folder / "checkpoint_last.pt"
    print("continues from", zipfile.ZipFile(last).namelist() if last.exists() else "nothing")
    zipfile.ZipFile(last, "w").close()
if os.environ["BROKEN"] and os.environ["BROKEN"] in " ".join([name, *sys.argv]):
    sys.exit("it broke")
if name == "fairseq-train":
    (folder / "checkpoint_best.pt").touch()
if name == "fairseq-generate":
    for n in range(5):
        print(f"S-{{n}}\\tsource {{n}}\\nT-{{n}}\\ttarget {{n}}\\nD-{{n}}\\t-0.5\\tresult {{n}}")
for option in ("--out", "--destdir"):
    if option in given:
        Path(given[option]).mkdir(exist_ok=name == "plot_training.py")
"""
FAKED = ("home_assistant_corpus", "subwords", "score_bleu", "compare", "plot_training")


class Checkout:
    """A checkout with stand-ins for all that takes long."""

    def __init__(self, folder):
        self.folder = folder
        self.calls_file = folder / "calls"
        self.work = folder / "out" / "en-de"
        for part in ("scripts", ".venv/bin", QUICKSTART.parent):
            (folder / part).mkdir(parents=True)
        shutil.copy(REPOSITORY / QUICKSTART, folder / QUICKSTART)
        library = QUICKSTART.parent / "lib"
        shutil.copytree(REPOSITORY / library, folder / library)
        settings = QUICKSTART.parent / "quickstart"
        shutil.copytree(REPOSITORY / settings, folder / settings)
        for name in ("show_training.py", "training_log.py"):
            shutil.copy(REPOSITORY / "scripts" / name, folder / "scripts")
        (folder / "scripts" / "install.sh").write_text("echo installed\n")
        for name in FAKED:
            (folder / "scripts" / f"{name}.py").write_text(STAND_IN)
        for name in ("fairseq-preprocess", "fairseq-train", "fairseq-generate"):
            program = folder / ".venv" / "bin" / name
            program.write_text(STAND_IN)
            program.chmod(0o755)
        (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
        self.has_gpu(False)

    def has_gpu(self, answer):
        """Write a torch that says whether there is a GPU."""
        (self.folder / "torch.py").write_text(f"class cuda: device_count = lambda: {int(answer)}\n")

    def environment(self, broken=""):
        """Return what the stand-ins need."""
        return {
            **os.environ,
            **{"CALLS": str(self.calls_file), "BROKEN": broken},
            **{"PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "yes"},
        }

    def run(self, *options, broken=""):
        """Run the quickstart; return its exit status, its output and the calls it made."""
        self.calls_file.write_text("")
        finished = subprocess.run(
            ["bash", str(QUICKSTART), "--out", "out", *options],
            cwd=self.folder,
            env=self.environment(broken),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return finished.returncode, finished.stdout, self.calls_file.read_text().splitlines()


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
        *("home_assistant_corpus.py", "home_assistant_corpus.py", "subwords.py"),
        *("fairseq-preprocess", "fairseq-train", "fairseq-train", "fairseq-generate"),
        *("score_bleu.py", "plot_training.py"),
    ]
    assert re.findall(r"(?:source|reference|hypothesis) +(\w+ \d)", output) == [
        f"{kind} {n}" for n in range(5) for kind in ("source", "target", "result")
    ]
    assert f"Model    {checkout.work}/rdrop-12min/model.pt" in output


def test_the_log_has_everything(checkout):
    _, output, _ = checkout.run()
    log = (checkout.work / "quickstart.log").read_text()
    missing = [line for line in output.splitlines() if line not in log]
    assert missing == []
    assert '"nll_loss": "7"' in log


def test_a_second_run_makes_nothing_again(checkout):
    checkout.run("--compare")
    status, _, calls = checkout.run("--compare")
    assert status == 0
    # what only looks at the wheel, or prints
    assert programs(calls) == [
        *("home_assistant_corpus.py", "score_bleu.py", "compare.py", "plot_training.py")
    ]


def test_training_with_rdrop_and_to_compare_without(checkout):
    _, _, calls = checkout.run("--compare", "--minutes", "6")
    trainings = [call for call in calls if call.startswith("fairseq-train")]
    criteria = [re.search(r"--criterion (\w+)", call)[1] for call in trainings]
    rdrop, plain = "rdrop_label_smoothed_cross_entropy", "label_smoothed_cross_entropy"
    assert criteria == [rdrop, rdrop, plain, plain]
    assert all("--reg-alpha" in call for call in trainings[:2])
    # Apart from the criterion and the folder everything is equal.
    shared = [
        re.sub(r"--reg-alpha \S+ |\brdrop_(?=label)|rdrop-6|plain-6", "", c) for c in trainings
    ]
    assert shared[:2] == shared[2:]


def test_the_learning_rate_falls_within_the_time_that_is_left(checkout):
    _, _, calls = checkout.run("--minutes", "6")
    constant, falling = (call for call in calls if call.startswith("fairseq-train"))
    share = float(re.search(r"--stop-time-hours (\S+)", constant)[1]) / 0.1
    assert 0 < share < 1 and "--lr-scheduler fixed" in constant
    assert "--stop-time-hours 0.1 " in falling and "--lr-scheduler polynomial_decay" in falling
    assert "--warmup-updates 40 " in falling
    assert f"--max-update {int(40 / share)}" in falling


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
    model = checkout.work / "rdrop-12min"
    (model / "checkpoint_last.pt").write_bytes(b"PK\3\4 and then the power failed")
    with zipfile.ZipFile(model / "checkpoint_2_400.pt", "w") as whole:
        whole.writestr("it", "is whole")
    status, output, _ = checkout.run()
    assert status == 0
    assert "checkpoint_last.pt was cut short" in output
    assert "continues from ['it']" in (checkout.work / "quickstart.log").read_text()


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


def test_help_names_every_option(checkout):
    status, output, calls = checkout.run("--help")
    assert (status, calls) == (0, [])
    script = (REPOSITORY / QUICKSTART).read_text()
    handled = {f"--{name}" for name in re.findall(r"^ +(?:option|flag) (\w+)", script, re.M)}
    described = set(re.findall(r"^  (--\w+)", output, re.M))
    assert described == {"--lang", "--minutes", "--compare", "--smoke", "--out", "--help"}
    assert described <= {*handled, "--help"}


@pytest.mark.corpus
@pytest.mark.slow
def test_as_a_user_runs_it(tmp_path):
    """The smoke run, the command that it prints at the end, and the run again."""
    if not (REPOSITORY / ".venv" / "installed").exists():
        pytest.skip("needs the .venv that scripts/install.sh makes")
    command = ["bash", str(REPOSITORY / QUICKSTART), "--smoke", "--compare", "--out", str(tmp_path)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    work = tmp_path / "en-de-smoke"
    assert re.search(r"^BLEU\|nrefs:1\|.* = \d", output, re.M)
    assert re.search(r"^chrF2\|nrefs:1\|.* = \d", output, re.M)
    assert re.search(r"^R-Drop .* p=\d", output, re.M)
    assert (work / "training.png").read_bytes().startswith(b"\x89PNG")
    own_text = output.split("To translate your own text:")[1]
    translated = subprocess.run(["bash", "-c", own_text], stdout=subprocess.PIPE, text=True)
    assert translated.stdout.strip()
    models = {model: model.stat().st_mtime for model in work.glob("*/model.pt")}
    assert len(models) == 2
    subprocess.run(command, check=True)
    assert {model: model.stat().st_mtime for model in work.glob("*/model.pt")} == models
