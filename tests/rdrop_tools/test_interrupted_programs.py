"""Programs that make a corpus, killed, interrupted or on a full disk: its whole output or none."""

import gzip
import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from helpers.faults import contents, full_disk, kill_at_random, run_undisturbed

from rdrop_tools.corpus import download, home_assistant, interface_wheel, prepare, subwords
from rdrop_tools.corpus.table import Archive, CorpusError
from rdrop_tools.runs import averaging

pytestmark = pytest.mark.faults
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
WORDS = [f"word{number}" for number in range(13)]


def sentences(count):
    return [f"{WORDS[n % 13]} {WORDS[n % 11]} {WORDS[n % 7]} is sentence {n}" for n in range(count)]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """What each program reads: archives and their table, a corpus, a wheel, two checkpoints."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "orig").mkdir()
    (folder / "corpus").mkdir()
    archives, texts = [], []
    for split, count in {"train": 1200, "valid": 50, "test": 50}.items():
        names = [f"{split}.{lang}" for lang in ("en", "de")]
        for name in names:
            text = "".join(f"{sentence}\n" for sentence in sentences(count)).encode()
            (folder / "corpus" / name).write_bytes(text)
            packed = gzip.compress(text, mtime=0)
            (folder / "orig" / f"{name}.gz").write_bytes(packed)
            sha256 = hashlib.sha256(packed).hexdigest()
            known = {"bytes": len(packed), "sha256": sha256}
            archives.append({"file": f"{name}.gz", "urls": [], **known})
        files = [f"{name}.gz" for name in names]
        texts.append({"name": split, "split": split, "format": "plain", "files": files})
    table = {"languages": ["en", "de"], "archives": archives, "texts": texts}
    (folder / "corpus.json").write_text(json.dumps(table))
    strings = {language: dict(enumerate(sentences(1500))) for language in ("en", "de")}
    write_wheel(folder / "wheel", strings)
    for number in (1, 2):
        torch.save({"model": {"weight": torch.zeros(20_000)}}, folder / f"checkpoint{number}.pt")
    return folder


def write_wheel(path, strings):
    with zipfile.ZipFile(path, "w") as wheel:
        for language, texts in strings.items():
            name = f"homeassistant/components/lamp/translations/{language}.json"
            wheel.writestr(zipfile.ZipInfo(name), json.dumps(texts))


def arguments(name, inputs, out):
    """The module of a program and its arguments."""
    module, *words = {
        "prepare_corpus": (
            *(prepare, "--corpus", inputs / "corpus.json", "--orig", inputs / "orig"),
            *("--workers", 1, "--out", out),
        ),
        "subwords": (
            *(subwords, "--corpus", inputs / "corpus", "--langs", "en", "de", "--size", 90),
            *("--workers", 1, "--out", out),
        ),
        "prepare_home_assistant": (*(home_assistant, "--wheel", inputs / "wheel", "--out", out),),
        "average_checkpoints": (*(averaging, "--dir", inputs, "--last", 2, "--out", out),),
    }[name]
    return module, [str(word) for word in words]


PROGRAMS = ("prepare_corpus", "subwords", "prepare_home_assistant", "average_checkpoints")


@pytest.fixture
def main(inputs, tmp_path, monkeypatch):
    """Run a program, by its name, in this process."""
    wheel = hashlib.sha256((inputs / "wheel").read_bytes()).hexdigest()
    monkeypatch.setattr(interface_wheel, "SHA256", wheel)

    def run(name):
        module, words = arguments(name, inputs, tmp_path / "out")
        module.main(words)

    return run


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_full_disk_is_one_sentence(main, tmp_path, name):
    with full_disk(at=20_000), pytest.raises(SystemExit) as stopped:
        main(name)
    message = str(stopped.value)
    assert f"no room for {tmp_path / 'out'}" in message and "same command again" in message
    assert "\n" not in message
    assert list(tmp_path.iterdir()) == []
    main(name)
    assert (tmp_path / "out").exists()


# What each program calls when a part of its output is there already
LATE = {
    "prepare_corpus": (prepare.manifest, "write"),
    "subwords": (subwords.manifest, "write"),
    "prepare_home_assistant": (Path, "write_text"),
    "average_checkpoints": (torch, "save"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_ctrl_c_leaves_nothing(main, tmp_path, monkeypatch, capsys, name):
    def interrupted(*_, **__):
        assert list(tmp_path.iterdir()) != []
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(*LATE[name], interrupted)
        main(name)
    assert stopped.value.code == 130
    message = f"stopped; the same command makes {tmp_path / 'out'} from scratch"
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_download_on_a_full_disk_continues(inputs, served, tmp_path):
    archives = [Archive(**archive) for archive in served.table["archives"]]
    with full_disk(at=archives[0].bytes - 10), pytest.raises(CorpusError) as stopped:
        download.download(archives, tmp_path)
    assert "File too large. Name another folder" in str(stopped.value)
    assert not list(tmp_path.glob("*.gz"))
    download.download(archives, tmp_path)
    assert contents(tmp_path) == contents(inputs / "orig")


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Stay silent: whoever asked was killed."""


@pytest.fixture
def served(inputs):
    """A slow server of the archives, with their table."""

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(inputs / "orig"))

        def copyfile(self, source, outputfile):
            content = source.read()
            for part in (content[:1000], content[1000:]):
                outputfile.write(part)
                time.sleep(0.05)

        def log_message(self, *_):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.table = json.loads((inputs / "corpus.json").read_text())
    for archive in server.table["archives"]:
        archive["urls"] = [f"http://127.0.0.1:{server.server_port}/{archive['file']}"]
    yield server
    server.shutdown()
    server.server_close()


def assert_killed_ten_times_makes_the_same(command, out):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    seconds = run_undisturbed(command, **quiet)
    expected = contents(out.parent)
    shutil.rmtree(out)

    def check():
        assert contents(out.parent) == expected

    kill_at_random(command, seconds, check, out, **quiet)
    subprocess.run(command, **quiet)  # which refuses when the last kill came after all was done
    check()


@pytest.mark.parametrize("name", PROGRAMS[:3])  # averages are made as these are, after long imports
def test_killed_ten_times_makes_the_same_bytes(inputs, tmp_path, name):
    _, words = arguments(name, inputs, tmp_path / "out")
    program = [str(SCRIPTS / f"{name}.py")]
    if name == "prepare_home_assistant":  # which insists on the one true wheel
        sha256 = hashlib.sha256((inputs / "wheel").read_bytes()).hexdigest()
        code = "from rdrop_tools.corpus import home_assistant, interface_wheel"
        code = f"{code}; interface_wheel.SHA256 = {sha256!r}; home_assistant.main()"
        program = ["-c", code]
    assert_killed_ten_times_makes_the_same([sys.executable, *program, *words], tmp_path / "out")


def test_a_download_killed_ten_times_makes_the_same_bytes(served, tmp_path):
    table = tmp_path / "table.json"
    table.write_text(json.dumps(served.table))
    command = [sys.executable, SCRIPTS / "download.py", "--corpus", table, "--to", tmp_path / "out"]
    assert_killed_ten_times_makes_the_same([str(word) for word in command], tmp_path / "out")
