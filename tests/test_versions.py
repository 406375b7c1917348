"""fairseq-versions.txt says which Python gets which fairseq; everything else agrees with it."""

import re
import shutil
import tarfile

import yaml
from helpers.constants import REPOSITORY
from helpers.launch import run
from packaging.requirements import Requirement


def read(name):
    return (REPOSITORY / name).read_text("utf-8")


ROWS = [line.split() for line in read("fairseq-versions.txt").splitlines() if line[0].isdigit()]
PYTHONS = sorted({row[0] for row in ROWS}, key=lambda python: int(python.partition(".")[2]))


def test_the_table_of_the_readme():
    section = read("README.md").partition("| Python | System |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| ([\d., ]+) \| ([^|]+) \| `(.+)` (\S+) \| (\w+)", section, re.MULTILINE)
    documented = [
        [python, system.replace(" ", "-"), f"{name}=={version}", comes]
        for pythons, system, name, version, comes in cells
        for python in pythons.split(", ")
    ]
    assert sorted(documented) == sorted(ROWS)


def test_the_workflow_runs_every_python_with_its_pinned_pytorch():
    job = yaml.safe_load(read(".github/workflows/ci.yml"))["jobs"]["tests"]
    assert job["strategy"]["matrix"]["python"] == PYTHONS
    (install,) = (step for step in job["steps"] if "scripts/test.sh" in step.get("run", ""))
    pins = dict(re.findall(r"^torch==(\S+); python_version (.+)$", read("constraints.txt"), re.M))
    old, new = (version for version, _ in sorted(pins.items(), key=lambda pin: pin[1]))
    chosen = f"torch==${{{{ matrix.python == '3.9' && '{old}' || '{new}' }}}}+cpu"
    assert install["env"]["RDROP_TORCH"] == chosen


def test_a_pinned_fairseq_is_one_of_the_table():
    pins = [line for line in read("constraints.txt").splitlines() if "fairseq==" in line]
    known = {row[2] for row in ROWS}
    for requirement in map(Requirement, pins):
        assert f"{requirement.name}{requirement.specifier}" in known
    assert pins


def test_a_source_distribution_has_the_table(tmp_path):
    """Or setup.py would stop in it. The build writes next to the sources: it gets a copy."""
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "fairseq-versions.txt", "README.md"):
        shutil.copy(REPOSITORY / name, tmp_path)
    run("python", "setup.py", "--quiet", "sdist", cwd=tmp_path)
    (archive,) = (tmp_path / "dist").iterdir()
    with tarfile.open(archive) as packed:
        names = {name.partition("/")[2]: name for name in packed.getnames()}
        metadata = packed.extractfile(names["PKG-INFO"]).read().decode()
    assert {"setup.py", "fairseq-versions.txt"} <= set(names)
    next_minor = int(PYTHONS[-1].partition(".")[2]) + 1
    (accepted,) = re.findall("^Requires-Python: (.*)", metadata, re.MULTILINE)
    assert set(accepted.split(",")) == {f">={PYTHONS[0]}", f"<3.{next_minor}"}
