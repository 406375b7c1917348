"""Downloads of a corpus's archives, from servers that behave in every bad way, and the tables."""

import gzip
import hashlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.constants import EXAMPLES, REPOSITORY

from rdrop_tools.corpus import download, fetch
from rdrop_tools.corpus.archive import WrongArchive, verify
from rdrop_tools.corpus.table import Archive, read_table

PROGRAM = REPOSITORY / "scripts" / "download.py"


def tgz(size=50_000):
    """Return an archive of one member that hardly compresses."""
    text = hashlib.shake_256(b"some text").digest(size)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        member = tarfile.TarInfo("training/text.de-en.en")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    return archive.getvalue()


ARCHIVE = tgz()
SHA256 = {"bytes": len(ARCHIVE), "sha256": hashlib.sha256(ARCHIVE).hexdigest()}


class Server(ThreadingHTTPServer):
    """A web server whose answers a test scripts: `answers[path](handler, offset)`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.requests = {}, []
        self.root = f"http://127.0.0.1:{self.server_port}"

    def serve(self, path, answer):
        self.answers[path] = answer
        return self.root + path

    def handle_error(self, request, client_address):
        """Stay silent: connections that break are what the tests are about."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self.server.requests.append((self.path, int(asked[1]) if asked else 0))
        self.server.answers.get(self.path, status(404))(self, self.server.requests[-1][1])

    def answer(self, code, body, **headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def status(code, body=b"", **headers):
    return lambda handler, offset: handler.answer(code, body, **headers)


def whole(content, ranges=True, cut_after=None, length=True):
    """Serve `content`; each connection ends after `cut_after` bytes."""

    def answer(handler, offset):
        headers = {}
        if not ranges:
            offset = 0
        elif offset and offset >= len(content):
            return handler.answer(416, b"", Content_Range=f"bytes */{len(content)}")
        elif offset:
            last = f"{len(content) - 1}/{len(content)}"
            headers["Content_Range"] = f"bytes {offset}-{last}"
        if length:
            headers["Content_Length"] = str(len(content) - offset)
        end = len(content) if cut_after is None else offset + cut_after
        handler.answer(206 if offset else 200, content[offset:end], **headers)

    return answer


@pytest.fixture
def server():
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(download, "PAUSES", (0, 0, 0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def run(tmp_path, capsys):
    """Run the program on a table of the given archives; return status, output and folder."""
    folder = tmp_path / "orig"

    def run(*archives, to=folder):
        table = tmp_path / "corpus.json"
        table.write_text(json.dumps({"languages": ["de", "en"], "archives": archives, "texts": []}))
        code = 0
        try:
            download.main(["--corpus", str(table), "--to", str(to)])
        except SystemExit as end:
            code = end.code
        output = capsys.readouterr()
        message = code if isinstance(code, str) else ""
        return SimpleNamespace(
            status=1 if message else code, text=message + output.out + output.err, folder=to
        )

    return run


def entry(*urls, file="corpus.tgz", **known):
    return {"file": file, "urls": list(urls), **known}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_fetched(result):
    assert result.status == 0, result.text
    assert (result.folder / "corpus.tgz").read_bytes() == ARCHIVE
    assert names(result.folder) == ["corpus.tgz"]


def assert_refused(result, *reasons):
    """One message with status 1, every reason in it, and no archive, whole or in part."""
    assert result.status == 1
    assert all(reason in result.text for reason in reasons), result.text
    assert not result.folder.exists() or names(result.folder) == []


def test_fresh_download_and_second_run(server, run):
    archive = entry(server.serve("/corpus.tgz", whole(ARCHIVE)), **SHA256)
    assert_fetched(run(archive))
    again = run(archive)
    assert_fetched(again)
    assert "there already, verified" in again.text
    assert len(server.requests) == 1


@pytest.mark.parametrize("known", [SHA256, {"md5": hashlib.md5(ARCHIVE).hexdigest()}, {}])
@pytest.mark.parametrize("length", [True, False])
def test_whatever_the_table_knows(server, run, known, length):
    url = server.serve("/corpus.tgz", whole(ARCHIVE, length=length))
    assert_fetched(run(entry(url, **known)))


def test_cut_connections_are_continued_as_long_as_bytes_arrive(server, run):
    url = server.serve("/corpus.tgz", whole(ARCHIVE, cut_after=5_000))
    assert_fetched(run(entry(url, **SHA256)))
    offsets = [offset for _, offset in server.requests]
    assert offsets == list(range(0, len(ARCHIVE), 5_000))
    assert len(offsets) > len(download.PAUSES)


def test_a_connection_without_length_that_is_cut(server, run):
    url = server.serve("/corpus.tgz", whole(ARCHIVE, cut_after=20_000, length=False))
    assert_fetched(run(entry(url, **SHA256)))


def test_a_later_run_continues(server, run):
    url = server.serve("/corpus.tgz", whole(ARCHIVE[:700], cut_after=700, length=False))
    first = run(entry(url, **SHA256))
    assert first.status == 1
    assert names(first.folder) == ["corpus.tgz.part"]
    url = server.serve("/corpus.tgz", whole(ARCHIVE))
    assert_fetched(run(entry(url, **SHA256)))
    assert server.requests[-1] == ("/corpus.tgz", 700)


def part_of(run, content):
    folder = run().folder
    folder.mkdir(exist_ok=True)
    (folder / "corpus.tgz.part").write_bytes(content)


def test_a_whole_part_needs_no_request(server, run):
    part_of(run, ARCHIVE)
    assert_fetched(run(entry(server.root + "/corpus.tgz", **SHA256)))
    assert server.requests == []


def test_a_whole_part_of_unknown_size(server, run):
    part_of(run, ARCHIVE)
    assert_fetched(run(entry(server.serve("/corpus.tgz", whole(ARCHIVE)))))
    assert server.requests == [("/corpus.tgz", len(ARCHIVE))]  # answered 416


@pytest.mark.parametrize("known", [SHA256, {}])
@pytest.mark.parametrize("part", [b"x" * 10, b"x" * len(ARCHIVE), ARCHIVE + b"x" * 10])
def test_the_part_of_another_file_is_replaced(server, run, part, known):
    part_of(run, part)
    assert_fetched(run(entry(server.serve("/corpus.tgz", whole(ARCHIVE)), **known)))


def test_a_server_that_ignores_ranges_starts_from_scratch(server, run):
    part_of(run, ARCHIVE[:700])
    url = server.serve("/corpus.tgz", whole(ARCHIVE, ranges=False))
    assert_fetched(run(entry(url, **SHA256)))
    assert server.requests == [("/corpus.tgz", 700)]


def test_a_server_that_ignores_ranges_and_is_cut_ends(server, run):
    url = server.serve("/corpus.tgz", whole(ARCHIVE, ranges=False, cut_after=700))
    assert run(entry(url, **SHA256)).status == 1
    assert len(server.requests) == 1 + len(download.PAUSES)


def test_a_server_that_continues_elsewhere_is_refused(server, run):
    part_of(run, ARCHIVE[:700])
    elsewhere = status(206, ARCHIVE, Content_Range=f"bytes 0-9/{len(ARCHIVE)}")
    result = run(entry(server.serve("/corpus.tgz", elsewhere), **SHA256))
    assert result.status == 1
    assert "not what was asked" in result.text
    assert (result.folder / "corpus.tgz.part").read_bytes() == ARCHIVE[:700]


@pytest.mark.parametrize("code", [403, 404, 500, 503])
def test_the_mirror_is_asked_after_an_error(server, run, code):
    broken = server.serve("/broken.tgz", status(code))
    mirror = server.serve("/corpus.tgz", whole(ARCHIVE))
    assert_fetched(run(entry(broken, mirror, **SHA256)))
    assert len(server.requests) == 2


def test_the_mirror_continues_what_the_first_began(server, run):
    first = server.serve("/first.tgz", whole(ARCHIVE, cut_after=1_000))
    second = server.serve("/second.tgz", whole(ARCHIVE))
    assert_fetched(run(entry(first, second, **SHA256)))
    assert server.requests == [("/first.tgz", 0), ("/second.tgz", 1_000)]


@pytest.mark.parametrize(("code", "requests"), [(404, 1), (416, 1), (429, 3), (500, 3)])
def test_only_passing_errors_are_tried_again(server, run, code, requests):
    result = run(entry(server.serve("/corpus.tgz", status(code)), **SHA256))
    assert_refused(result, f"answers {code}", "/corpus.tgz", str(result.folder / "corpus.tgz"))
    assert len(server.requests) == requests


def test_redirects_within_http_are_followed(server, run):
    target = server.serve("/target", whole(ARCHIVE))
    url = server.serve("/corpus.tgz", status(302, Location=target))
    assert_fetched(run(entry(url, **SHA256)))


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "file:///etc/passwd"])
def test_redirects_to_other_schemes_are_refused(server, run, target):
    url = server.serve("/corpus.tgz", status(302, Location=target))
    assert_refused(run(entry(url, **SHA256)), "redirect")


def test_redirects_from_https_to_http_are_refused():
    request = fetch.urllib.request.Request("https://one.example/corpus.tgz")
    with pytest.raises(fetch.urllib.error.HTTPError, match="not followed"):
        fetch._SafeRedirects().redirect_request(
            request, io.BytesIO(), 302, "", {}, "http://one.example/corpus.tgz"
        )


def flipped(content):
    """Return `content` with one bit of its middle changed."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


WRONG = {
    "bit-flipped": flipped(ARCHIVE),
    "truncated": ARCHIVE[: len(ARCHIVE) // 2],
    "lacks the last byte": ARCHIVE[:-1],
    "too large": ARCHIVE + b"x" * 100,
    "web page": b"<!DOCTYPE html>\n<html><body>Please log in</body></html>",
    "empty": b"",
    "another": gzip.compress(b"not a tar file" * 100),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize(
    "known",
    [SHA256, {"sha256": SHA256["sha256"]}, {"bytes": SHA256["bytes"]}, {}],
    ids=["bytes and sha256", "sha256", "bytes", "nothing known"],
)
def test_a_wrong_file_is_refused_loudly_and_not_kept(server, run, wrong, known):
    url = server.serve("/corpus.tgz", whole(WRONG[wrong]))
    assert_refused(run(entry(url, **known)), "could not be downloaded", url)


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_file_of_one_mirror_does_not_spoil_the_next(server, run, wrong):
    first = server.serve("/first.tgz", whole(WRONG[wrong]))
    second = server.serve("/second.tgz", whole(ARCHIVE))
    assert_fetched(run(entry(first, second, **SHA256)))


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_file_that_is_there_is_refused_but_not_removed(server, run, wrong):
    folder = run().folder
    folder.mkdir()
    (folder / "corpus.tgz").write_bytes(WRONG[wrong])
    result = run(entry(server.root + "/corpus.tgz", **SHA256))
    assert result.status == 1
    assert f"{folder / 'corpus.tgz'}" in result.text
    assert "Remove it" in result.text
    assert server.requests == []
    assert names(folder) == ["corpus.tgz"]


def test_a_wrong_file_is_named_as_what_it_is(tmp_path):
    expected = {"web page": "web page", "truncated": "bytes", "bit-flipped": "sha256"}
    for wrong, reason in expected.items():
        path = tmp_path / "corpus.tgz"
        path.write_bytes(WRONG[wrong])
        with pytest.raises(WrongArchive, match=reason):
            verify(path, Archive(**entry(**SHA256)))


@pytest.mark.parametrize(
    "page",
    [status(200, WRONG["web page"], Content_Type="text/html; charset=utf-8"), whole(b"<HTML>x")],
    ids=["declared", "undeclared"],
)
def test_a_web_page_in_place_of_the_archive(server, run, page):
    result = run(entry(server.serve("/corpus.tgz", page)))
    assert_refused(result, "web page", "login page")
    assert len(server.requests) == 1


@pytest.mark.parametrize("suffix", ["gz", "tar", "tgz"])
def test_what_is_not_an_archive_of_its_kind_is_refused_without_a_checksum(tmp_path, suffix):
    path = tmp_path / f"corpus.{suffix}"
    for content in [b"", b"plain text", b"<html>", WRONG["bit-flipped"], b"\x1f\x8b"]:
        path.write_bytes(content)
        with pytest.raises(WrongArchive):
            verify(path, Archive(**entry(file=path.name)))


@pytest.mark.parametrize("suffix", ["gz", "tar", "tgz"])
def test_whole_archives_of_each_kind_are_accepted_without_a_checksum(tmp_path, suffix):
    path = tmp_path / f"corpus.{suffix}"
    path.write_bytes(gzip.decompress(ARCHIVE) if suffix == "tar" else ARCHIVE)
    verify(path, Archive(**entry(file=path.name)))


def test_a_truncated_tar_is_refused_without_a_checksum(tmp_path):
    path = tmp_path / "corpus.tar"
    path.write_bytes(gzip.decompress(ARCHIVE)[:30_000])
    with pytest.raises(WrongArchive):
        verify(path, Archive(**entry(file=path.name)))


def test_a_web_page_does_not_cost_what_has_arrived(server, run):
    part_of(run, ARCHIVE[:700])
    page = status(200, WRONG["web page"], Content_Type="text/html")
    result = run(entry(server.serve("/corpus.tgz", page), **SHA256))
    assert result.status == 1
    assert (result.folder / "corpus.tgz.part").read_bytes() == ARCHIVE[:700]


def test_a_file_that_announces_too_many_bytes_is_not_even_begun(server, run):
    url = server.serve("/corpus.tgz", status(200, b"x", Content_Length=str(10**12)))
    assert_refused(run(entry(url, **SHA256)), "1,000,000,000,000", f"{len(ARCHIVE):,}")
    assert len(server.requests) == 1


def test_an_endless_file_is_stopped_at_the_size_of_the_table(server, run):
    def endless(handler, offset):
        handler.answer(200, b"")
        while True:
            handler.wfile.write(b"x" * 10_000)

    assert_refused(run(entry(server.serve("/corpus.tgz", endless), **SHA256)), "has more than")


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_without_network_one_message_lists_what_where_from_and_where_to(run):
    root = f"http://127.0.0.1:{closed_port()}"
    result = run(
        entry(f"{root}/a.tgz", f"{root}/mirror/a.tgz", file="a.tgz", bytes=1_234_567),
        entry(f"{root}/b.tgz", file="b.tgz"),
    )
    expected = [f"{root}/a.tgz", f"{root}/mirror/a.tgz", "1,234,567", f"{root}/b.tgz"]
    places = [str(result.folder / name) for name in ("a.tgz", "b.tgz")]
    assert_refused(result, "2 archives", "same command", "no connection", *expected, *places)


def test_without_network_only_the_first_archive_is_waited_for(run, monkeypatch):
    slept = []
    monkeypatch.setattr(download, "PAUSES", (0, 7, 8))
    monkeypatch.setattr(fetch.time, "sleep", slept.append)
    url = f"http://127.0.0.1:{closed_port()}/x.tgz"
    assert run(*(entry(url, file=f"{name}.tgz") for name in "abc")).status == 1
    assert slept == [0, 7, 8, 0, 0]


def test_the_other_archives_are_fetched_though_one_is_not_there(server, run):
    url = server.serve("/corpus.tgz", whole(ARCHIVE))
    result = run(entry(server.root + "/gone.tgz", file="gone.tgz"), entry(url, **SHA256))
    assert result.status == 1
    assert "1 archive could not" in result.text
    assert names(result.folder) == ["corpus.tgz"]


def test_a_folder_that_cannot_be_written(server, run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    url = server.serve("/corpus.tgz", whole(ARCHIVE))
    result = run(entry(url, **SHA256), to=tmp_path / "file" / "orig")
    assert result.status == 1
    assert "Cannot use" in result.text and "Name another folder" in result.text
    assert server.requests == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full")
def test_a_full_disk_is_one_sentence(server, run):
    folder = run().folder
    folder.mkdir()
    (folder / "corpus.tgz.part").symlink_to("/dev/full")
    result = run(entry(server.serve("/corpus.tgz", whole(ARCHIVE)), **SHA256))
    assert result.status == 1
    assert "No space is left" in result.text and "same command" in result.text


def test_ctrl_c_keeps_what_has_arrived(server, run, tmp_path):
    def stalls(handler, offset):
        handler.answer(200, ARCHIVE[:30_000], Content_Length=str(len(ARCHIVE)))
        time.sleep(60)

    archive = entry(server.serve("/corpus.tgz", stalls), **SHA256)
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"languages": ["de", "en"], "archives": [archive], "texts": []}))
    folder = run().folder
    process = subprocess.Popen(
        [sys.executable, PROGRAM, "--corpus", str(table), "--to", str(folder)],
        stderr=subprocess.PIPE,
        env={**os.environ, "no_proxy": "127.0.0.1"},
        text=True,
    )
    part = folder / "corpus.tgz.part"
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    message = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert "the same command continues" in message and "Traceback" not in message
    assert names(folder) == ["corpus.tgz.part"]
    server.serve("/corpus.tgz", whole(ARCHIVE))
    assert_fetched(run(archive))
    assert server.requests[-1][1] > 0


def test_files_of_multi30k_are_those_of_the_table(shared_data):
    for archive in read_table(EXAMPLES / "multi30k_en_de" / "corpus.json").archives:
        verify(shared_data / "multi30k" / archive.file, archive)
