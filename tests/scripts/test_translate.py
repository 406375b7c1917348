"""translate.sh as a person runs it: in pipes, killed, several at once."""

import fcntl
import os
import pty
import shutil
import signal
import site
import struct
import subprocess
import sys
import termios
import time
import venv

import pytest
import torch
from helpers.constants import REPOSITORY, TINY_TRANSFORMER, TRAINING, USER_DIR
from helpers.launch import fork, run, start

TRANSLATE = REPOSITORY / "scripts" / "translate.sh"
EXPORT = REPOSITORY / "scripts" / "export_ctranslate2.py"


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """A run on the toy corpus of every test, its words as they are."""
    folder = tmp_path_factory.mktemp("translate")
    run(
        *("python", REPOSITORY / "scripts" / "subwords.py", "--corpus", corpus.text),
        *("--langs", "de", "en", "--method", "subword-nmt", "--size", "1", "--workers", "1"),
        *("--out", folder / "subwords"),
    )
    shutil.copytree(corpus.translation, folder / "binarized")
    fork(
        *("fairseq-train", folder / "binarized", *TINY_TRANSFORMER, *TRAINING, USER_DIR),
        *(f"--save-dir={folder / 'run'}", "--no-epoch-checkpoints", "--max-update=20"),
    )
    return folder / "run"


def begin(trained, *options):
    """Start translate.sh, with pipes of bytes to it and from it, in a process group of its own."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    words = (TRANSLATE, trained, "--cpu", "--beam", "1", *options)
    return start("bash", *words, encoding=None, bufsize=0, start_new_session=True, **pipes)


def test_a_line_is_translated_before_the_next_one_comes(trained):
    with begin(trained) as process:
        for line in (b"w1 w2\n", b"\n", b"w3\n"):
            process.stdin.write(line)
            answer = process.stdout.readline()
            assert answer.endswith(b"\n") and (answer == b"\n") == (line == b"\n")
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_in_the_middle_its_output_is_the_beginning(trained, number):
    text = "".join(f"w{n % 40} w{n % 7}\n" for n in range(60))
    whole = run("bash", TRANSLATE, trained, "--cpu", "--beam", "1", input=text).stdout
    with begin(trained) as process:
        process.stdin.write(text[: len(text) // 2].encode())
        first = process.stdout.readline()
        os.killpg(process.pid, number)
        output, errors = first + process.stdout.read(), process.stderr.read()
    assert process.returncode != 0
    assert whole.encode().startswith(output) and output.endswith(b"\n")
    assert b"Traceback" not in errors


def test_two_at_once_give_what_one_gives(trained):
    text = b"".join(b"w%d w2\n" % (n % 40) for n in range(30))
    processes = [begin(trained) for _ in range(2)]
    outputs = [process.communicate(text)[0] for process in processes]
    assert outputs[0] == outputs[1] and outputs[0].count(b"\n") == 30


def test_progress_shows_on_a_terminal(trained):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))  # rows and columns
    words = (TRANSLATE, trained, "--cpu", "--beam", "1", "w1 w2")
    finished = run("bash", *words, stderr=theirs)
    shown = os.read(ours, 2**16)
    os.close(ours)
    os.close(theirs)
    assert b"1 lines [" in shown and finished.stdout.count("\n") == 1


def test_no_progress_goes_into_a_pipe(trained):
    finished = run(
        "bash", TRANSLATE, trained, "--cpu", "--beam", "1", "w1 w2", stderr=subprocess.PIPE
    )
    assert "lines [" not in finished.stderr and finished.stdout.count("\n") == 1


def test_who_stops_reading_stops_it_quietly(trained):
    command = f'yes "w1 w2" | bash "{TRANSLATE}" "{trained}" --cpu --beam 1 | head -n 2'
    finished = run("bash", "-c", command)
    assert finished.stdout.count("\n") == 2 and "Traceback" not in finished.stdout


def test_from_any_folder_whatever_is_in_it(trained, tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('this is not the json of Python')")
    (tmp_path / "rdrop_tools").mkdir()
    relative = os.path.relpath(trained, tmp_path)
    words = ("bash", TRANSLATE, relative, "--cpu", "w1", "w2")
    finished = run(*words, cwd=tmp_path, stderr=subprocess.DEVNULL)
    assert finished.stdout.count("\n") == 1


def test_its_own_environment_is_taken_where_the_active_one_lacks_the_plugin(trained, tmp_path):
    """An active environment without the plugin: a python that has no packages at all."""
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    (tmp_path / "python").chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    words = ("bash", TRANSLATE, trained, "--cpu", "w1")
    finished = run(*words, environment={"PATH": path}, check=False, stderr=subprocess.STDOUT)
    if (REPOSITORY / ".venv" / "bin" / "python").exists():
        assert finished.returncode == 0
    else:
        lacks = "the active environment lacks fairseq, rdrop_tools, sacrebleu, sentencepiece: run"
        assert lacks in finished.stdout


def without(packages, folder):
    """Make an environment with the packages of the tests but these; return its PATH."""
    venv.create(folder, symlinks=True)
    lines = [f"site.addsitedir({path!r})" for path in site.getsitepackages()]
    lines += [f"sys.modules[{package!r}] = None" for package in packages]
    (own,) = folder.glob("lib/python*/site-packages")
    (own / "all_but.pth").write_text(f"import site, sys; {'; '.join(lines)}\n")
    return os.pathsep.join([str(folder / "bin"), os.environ["PATH"]])


def test_a_package_is_needed_where_the_model_needs_it(trained, tmp_path):
    command = ("bash", TRANSLATE, trained, "--cpu", "w1")
    path = without(["sacremoses", "ctranslate2"], tmp_path / "enough")
    finished = run(*command, environment={"PATH": path}, stderr=subprocess.DEVNULL)
    assert finished.stdout.count("\n") == 1
    path = without(["sacremoses", "subword_nmt"], tmp_path / "too few")
    finished = run(*command, environment={"PATH": path}, check=False)
    message = "translate.sh: needs subword-nmt: run pip install 'rdrop_fairseq[corpus]'."
    assert finished.returncode == 1 and finished.stdout.splitlines()[-1] == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n-best", "6"], "--n-best 6 needs a --beam of at least 6"),
        (["--beam", "0"], "must be a whole number from 1 on"),
        (["--input", "nowhere"], "No such file or directory: 'nowhere'"),
        (["--input", "text", "words"], "give the words or --input, not both"),
    ],
)
def test_a_wrong_command_is_refused_in_a_sentence(trained, options, message):
    finished = run("bash", TRANSLATE, trained, *options, check=False)
    assert finished.returncode != 0
    assert message in finished.stdout and "Traceback" not in finished.stdout
    assert finished.stdout.strip().split("\n")[-1].startswith("translate.sh: ")


def test_exports_that_are_killed_or_two_at_once_leave_a_whole_model_or_none(trained, tmp_path):
    pytest.importorskip("ctranslate2")
    out = tmp_path / "out"
    command = ("python", EXPORT, trained, "--out", out)
    killed = start(*command)
    while not list(tmp_path.glob(".out.making.*")) and killed.poll() is None:
        time.sleep(0.02)
    killed.kill()
    killed.wait()
    both = [start(*command) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    statuses = sorted(process.returncode for process in both)
    if not out.exists():  # each stopped the other
        assert statuses == [1, 1], outputs
        run(*command)
    else:
        assert 0 in statuses, outputs
    assert run("bash", TRANSLATE, out, "--cpu", "w1", stderr=None).stdout.count("\n") == 1


def test_a_training_with_a_broken_checkpoint_is_not_exported(trained, tmp_path):
    pytest.importorskip("ctranslate2")
    copy = tmp_path / "copy"
    shutil.copytree(trained.parent, copy)
    torch.save({"model": {}}, copy / "run" / "checkpoint_best.pt")
    command = ("python", EXPORT, copy / "run", "--out", tmp_path / "out")
    finished = run(*command, check=False)
    assert finished.returncode == 1 and not (tmp_path / "out").exists()
    assert finished.stdout.strip().split("\n")[-1].startswith("export_ctranslate2.py: ")
    assert "Traceback" not in finished.stdout
