"""The quickstart in a checkout of its own, with stand-ins for the slow programs."""

import os
import shutil
import sys
from pathlib import Path

from helpers.constants import REPOSITORY
from helpers.launch import run

QUICKSTART = Path("examples/translation/quickstart.sh")

# Stands for any program: notes its call, makes what that program would make, and fails if told to.
STAND_IN = f"""#!{sys.executable}
import os, sys, zipfile
from pathlib import Path

name = Path(sys.argv[0]).name
with open(os.environ["CALLS"], "a") as calls:
    print(name, *sys.argv[1:], file=calls)
given = dict(zip(sys.argv[1:], sys.argv[2:]))
if name == "prepare_home_assistant.py":
    Path(given["--wheel"]).touch()
if name == "fairseq-train":
    folder = Path(given["--save-dir"])
    updates = given.get("--max-update", "40")
    print(f'{{{{"epoch": 1, "nll_loss": "7", "num_updates": "{{updates}}", "wall": "6"}}}}')
    Path(given["--log-file"]).write_text(f'"train_num_updates": "{{updates}}"')
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
TORCHRUN = """#!/bin/bash
while [ "$1" != --no-python ]; do shift; done
WORLD_SIZE=2 RANK=0 LOCAL_RANK=0 exec "${@:2}"
"""
FAKED = ("prepare_home_assistant", "subwords", "score_bleu", "compare", "plot_training")


class Checkout:
    """A checkout with stand-ins for all that takes long."""

    def __init__(self, folder):
        self.folder = folder
        self.calls_file = folder / "calls"
        self.work = folder / "out" / "en-de"
        for part in ("scripts", ".venv/bin", QUICKSTART.parent):
            (folder / part).mkdir(parents=True)
        shutil.copy(REPOSITORY / QUICKSTART, folder / QUICKSTART)
        library = Path("examples/lib")
        shutil.copytree(REPOSITORY / library, folder / library)
        settings = QUICKSTART.parent / "quickstart"
        shutil.copytree(REPOSITORY / settings, folder / settings)
        shutil.copy(REPOSITORY / "scripts" / "show_training.py", folder / "scripts")
        shutil.copytree(REPOSITORY / "rdrop_tools", folder / "rdrop_tools")
        (folder / "scripts" / "install.sh").write_text("echo installed\n")
        for name in FAKED:
            (folder / "scripts" / f"{name}.py").write_text(STAND_IN)
        for name in ("fairseq-preprocess", "fairseq-train", "fairseq-generate"):
            program = folder / ".venv" / "bin" / name
            program.write_text(STAND_IN)
            program.chmod(0o755)
        torchrun = folder / ".venv" / "bin" / "torchrun"  # the first of the processes alone
        torchrun.write_text(TORCHRUN)
        torchrun.chmod(0o755)
        python = folder / ".venv" / "bin" / "python"  # a link would lose the packages of the tests
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
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

    def run(self, *options, broken="", **more):
        """Run the quickstart; return its exit status, its output and the calls it made.

        Args:
            more: options of ``launch.run``.
        """
        self.calls_file.write_text("")
        words = (QUICKSTART, "--out", "out", *options)
        where = {"cwd": self.folder, "env": self.environment(broken)}
        finished = run("bash", *words, check=False, **{**where, **more})
        return finished.returncode, finished.stdout, self.calls_file.read_text().splitlines()
