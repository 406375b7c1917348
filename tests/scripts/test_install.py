"""scripts/install.sh with a Python that only says what it is asked to do, and the dependencies."""

import fcntl
import os
import runpy
import shutil
import socket
import sys
import time
from types import SimpleNamespace

import pytest
import setuptools
from helpers import launch
from helpers.constants import REPOSITORY
from packaging.requirements import Requirement

INPUTS = (
    *("setup.py", "pyproject.toml", "constraints.txt", "fairseq-versions.txt"),
    "scripts/install.sh",
)
TOOLS = ("bash", "cat", "cksum", "cp", "dirname", "grep", "mkdir")

# Answers install.sh's questions, makes a .venv whose python is itself, and records the calls.
PYTHON = """#!/usr/bin/env bash
here=$(dirname "$0")
echo "$*" >>"$FAKE_CALLS"
case "$*" in
    *lock.py*) exec "$REAL_PYTHON" "$@" ;;
    *version_info*) echo "$FAKE_VERSION" ;;
    *realpath*) echo "$FAKE_PYTHON" ;;
    *machine*) echo "Linux-x86_64" ;;
    *get_path*) echo "$FAKE_HEADERS" ;;
    *ensurepip*) [ "$FAKE_VENV" = yes ] ;;
    "-m venv"*) mkdir -p "${!#}/bin" && cp "$0" "${!#}/bin/python" ;;
    *"$FAKE_FAILURE"*) exit 1 ;;
esac
"""


@pytest.fixture
def install(tmp_path):
    """A copy of the checkout's part that install.sh reads, and a function that runs it."""
    checkout = tmp_path / "a checkout"
    (checkout / "scripts").mkdir(parents=True)
    for name in INPUTS:
        shutil.copy(REPOSITORY / name, checkout / name)
    (checkout / "rdrop_tools").mkdir()
    shutil.copy(REPOSITORY / "rdrop_tools" / "lock.py", checkout / "rdrop_tools")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in (*TOOLS, "env"):
        (tools / name).symlink_to(shutil.which(name))
    python, calls, headers = tools / "python3", tmp_path / "calls", tmp_path / "headers"
    python.write_text(PYTHON)
    python.chmod(0o755)
    headers.mkdir()

    def run(*arguments, version="3.11", **settings):
        calls.write_text("")
        environment = {
            "PATH": str(tools),
            "FAKE_CALLS": str(calls),
            "REAL_PYTHON": sys.executable,
            "FAKE_VERSION": version,
            "FAKE_PYTHON": str(python),
            "FAKE_HEADERS": str(headers),
            "FAKE_VENV": "yes",
            "FAKE_FAILURE": "nothing fails",
            **settings,
        }
        command = ("bash", checkout / "scripts" / "install.sh", *arguments)
        finished = launch.run(*command, check=False, cwd=tmp_path, env=environment)
        pips = [line for line in calls.read_text().splitlines() if line.startswith("-m pip")]
        return SimpleNamespace(status=finished.returncode, said=finished.stdout, pips=pips)

    def compiler_and_headers():
        (tools / "c++").symlink_to(shutil.which("true"))
        (headers / "Python.h").touch()

    return SimpleNamespace(
        run=run, checkout=checkout, venv=checkout / ".venv", can_compile=compiler_and_headers
    )


def test_installs_from_any_folder_and_then_does_nothing(install):
    first = install.run()
    assert first.status == 0, first.said
    assert first.pips[-1].endswith("--editable .[dev]")
    start = time.monotonic()
    second = install.run()
    assert time.monotonic() - start < 5
    assert (second.status, second.pips) == (0, [])
    assert second.said == f"==> everything is installed in {install.venv}\n"


def test_two_do_not_install_at_once(install):
    with open(f"{install.venv}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        print(f"install.sh (process {os.getpid()} on {socket.gethostname()} since now)", file=lock)
        lock.flush()
        refused = install.run()
    assert (refused.status, refused.pips) == (1, [])
    place = f"install.sh: {install.venv} is in use by install.sh (process {os.getpid()} on "
    assert refused.said.startswith(place) and refused.said.count("\n") == 1
    assert not install.venv.exists()
    assert install.run().pips


@pytest.mark.parametrize("change", [*INPUTS, "the checkout's place"])
def test_installs_again_after_a_change(install, change):
    install.run()
    if change in INPUTS:
        with open(install.checkout / change, "a") as file:
            file.write("# changed\n")
    else:
        record = install.venv / "installed"
        record.write_text(record.read_text().replace("a checkout", "another place"))
    assert install.run().pips


@pytest.mark.parametrize("failure", ["torch", "--editable"])
def test_an_interrupted_installation_is_completed(install, failure):
    chosen = {"RDROP_TORCH": "torch==2.15.0"}
    stopped = install.run(FAKE_FAILURE=failure, **chosen)
    assert stopped.status == 1
    assert "Run it again" in stopped.said
    assert install.run().pips[-1].endswith("--editable .[dev]")
    assert "torch==2.15.0" in (install.venv / "constraints.txt").read_text()
    assert install.run().pips == []


def test_another_pytorch_replaces_the_pinned_one_and_nothing_else(install):
    pinned = (install.checkout / "constraints.txt").read_text().splitlines()
    install.run(RDROP_TORCH="torch==2.15.0")
    constraints = (install.venv / "constraints.txt").read_text().splitlines()
    assert [line for line in constraints if line.startswith("torch==")] == ["torch==2.15.0"]
    assert set(pinned) - set(constraints) == {x for x in pinned if x.startswith("torch==")}
    assert install.run().pips == [], "the choice is remembered"
    assert install.run(RDROP_TORCH="").pips, "an empty one goes back to the pin"
    assert sorted((install.venv / "constraints.txt").read_text().splitlines()) == sorted(pinned)


def test_stock_fairseq_gets_a_pip_that_accepts_it(install):
    install.can_compile()
    assert install.run(version="3.10").pips[0].endswith("pip<24.1")


def test_fairseq_fixed_is_compiled_against_the_installed_pytorch(install):
    install.can_compile()
    finished = install.run(version="3.13")
    assert any("--no-build-isolation fairseq-fixed==" in call for call in finished.pips)
    assert "compiling fairseq-fixed" in finished.said


@pytest.mark.parametrize(
    ("version", "settings", "sentence"),
    [
        ("3.8", {}, "'python3' is Python 3.8; give one from 3.9 to 3.13"),
        ("3.14", {}, "'python3' is Python 3.14; give one from 3.9 to 3.13"),
        ("3.11", {"PYTHON": "python-of-nowhere"}, "there is no 'python-of-nowhere'"),
        (
            "3.12",
            {"FAKE_VENV": "no"},
            "has no venv module; install it (on Debian: python3.12-venv)",
        ),
        ("3.10", {}, "there is no C++ compiler; install one (g++ or clang++): fairseq must be"),
        ("3.13", {}, "there is no C++ compiler; install one (g++ or clang++): fairseq-fixed must"),
        ("3.13", {"CXX": "bash"}, "Python.h; install it (on Debian: python3.13-dev)"),
    ],
)
def test_what_is_missing_is_said_before_anything_is_made(install, version, settings, sentence):
    finished = install.run(version=version, **settings)
    assert finished.status == 1
    assert sentence in finished.said
    assert len(finished.said.splitlines()) == 1
    assert not install.venv.exists()


def test_help_and_unknown_arguments(install):
    assert "RDROP_TORCH" in install.run("--help").said
    unknown = install.run("--gpu")
    assert (unknown.status, unknown.said) == (
        1,
        "install.sh: unknown argument '--gpu'; see --help\n",
    )


@pytest.mark.parametrize("python", ["3.9", "3.10", "3.11", "3.12", "3.13"])
@pytest.mark.parametrize("system", ["linux x86_64", "linux aarch64", "darwin arm64"])
def test_each_platform_gets_exactly_one_fairseq(python, system, monkeypatch):
    metadata = {}
    monkeypatch.setattr(setuptools, "setup", metadata.update)
    runpy.run_path(str(REPOSITORY / "setup.py"))
    platform, machine = system.split()
    environment = {
        "python_version": python,
        "sys_platform": platform,
        "platform_machine": machine,
    }
    needed = [Requirement(line) for line in metadata["install_requires"] if "fairseq" in line]
    chosen = [line.name for line in needed if line.marker.evaluate(environment)]
    if python in ("3.9", "3.10"):
        assert chosen == ["fairseq"]
    elif python in ("3.11", "3.12") and system == "linux x86_64":
        assert chosen == ["ve-fairseq"]
    else:
        assert chosen == ["fairseq-fixed"]
