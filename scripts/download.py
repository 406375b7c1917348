#!/usr/bin/env python3
"""Download the archives that a corpus is made of, as its table lists them.

What is there already is verified, never fetched again. An interrupted download is continued by the
same command. Only a file that is verified gets its name: until then it is called NAME.part.
"""

import argparse
import errno
import gzip
import http.client
import json
import os
import re
import sys
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from pathlib import Path

from checksums import checksum, read_gzip
from tqdm import tqdm

PAUSES = (0, 1, 5, 15)  # seconds before each round over an archive's addresses
TIMEOUT = 30  # seconds without a byte
BLOCK = 1 << 18
WORTH_ANOTHER_TRY = {408, 425, 429}  # of the 4xx answers; of the others only 5xx are
STARTS_LIKE_HTML = re.compile(rb"(\xef\xbb\xbf)?\s*<(!doctype html|html|head|script)\b", re.I)


class DownloadError(Exception):
    """Why an archive is not there, in a sentence for the user."""


class WrongArchive(DownloadError):
    """A file is not the archive that the table describes."""


class Interrupted(DownloadError):
    """The connection failed: another try may succeed."""


class Refused(DownloadError):
    """An address does not have the archive: another try is of no use."""


class Unreachable(Interrupted):
    """There was no connection at all."""


class NotFetched(DownloadError):
    """No address gave the archive; `reasons` says why, {address: DownloadError}."""

    def __init__(self, reasons):
        super().__init__("; ".join(f"{url}: {reason}" for url, reason in reasons.items()))
        self.reasons = reasons


def verify(path, entry):
    """Make sure that a file is the whole archive which `entry` of a table describes.

    Where the table has no checksum, the archive is read to its end instead.

    Raises:
        WrongArchive: it is another file, or a damaged one.
    """
    with open(path, "rb") as file:
        if STARTS_LIKE_HTML.match(file.read(512)):
            raise WrongArchive(
                f"{path} is a web page, not an archive: a proxy or the login page of a network "
                "may have answered in place of the server."
            )
    size = path.stat().st_size
    if size == 0:
        raise WrongArchive(f"{path} is empty.")
    if size != entry.get("bytes", size):
        raise WrongArchive(f"{path} has {size:,} bytes and should have {entry['bytes']:,}.")
    checksums = [name for name in ("sha256", "md5") if name in entry]
    for name in checksums:
        digest = checksum(path, name)
        if digest != entry[name]:
            raise WrongArchive(f"{path} has {name} {digest} and should have {entry[name]}.")
    if not checksums:
        _read_to_the_end(path, Path(entry["file"]).suffix)


def _read_to_the_end(path, suffix):
    try:
        if suffix in (".gz", ".tgz"):
            read_gzip(path)
        if suffix in (".tar", ".tgz"):
            with tarfile.open(path, "r:" if suffix == ".tar" else "r:gz") as archive:
                for _ in archive:
                    pass
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise WrongArchive(f"{path} is damaged or not an archive: {error}.") from error


def download(archives, folder):
    """Verify the archives that are in `folder` and fetch the others into it.

    Raises:
        DownloadError: one that is there is wrong, or some could not be fetched. The message lists
            these with where to get them and where to put them.
    """
    try:
        missing = [entry for entry in archives if not _is_there(entry, folder)]
        if missing:
            folder.mkdir(parents=True, exist_ok=True)
        failures = _fetch_all(missing, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DownloadError(
                f"No space is left in {folder}: free some and run the same command again, which "
                "continues where this one stopped."
            ) from error
        reason = f"Cannot use {error.filename or folder}: {error.strerror}."
        raise DownloadError(f"{reason} Name another folder for the archives.") from error
    if failures:
        raise DownloadError(_how_to_get(failures, folder))


def _is_there(entry, folder):
    path = folder / entry["file"]
    if not path.exists():
        return False
    try:
        verify(path, entry)
    except WrongArchive as error:
        raise DownloadError(
            f"{error} Remove it to have it downloaded by the same command, or put the right one "
            "in its place."
        ) from error
    print(f"{path}: there already, verified")
    return True


def _fetch_all(missing, folder):
    """Return (entry, reasons) of those that could not be fetched."""
    failures = []
    pauses = PAUSES
    for entry in missing:
        try:
            fetch(entry, folder, pauses)
            print(f"{folder / entry['file']}: downloaded, verified")
        except NotFetched as error:
            failures.append((entry, error.reasons))
            if all(isinstance(reason, Unreachable) for reason in error.reasons.values()):
                pauses = PAUSES[:1]  # probably no network: ask for the others, but only once
    return failures


def _how_to_get(failures, folder):
    lines = [
        f"{len(failures)} archive{'s' * (len(failures) > 1)} could not be downloaded. Run the same "
        "command again, which continues where this one stopped, or get what is missing in another "
        "way and put it where it belongs:"
    ]
    for entry, reasons in failures:
        size = f" ({entry['bytes']:,} bytes)" if "bytes" in entry else ""
        lines.append(f"  {entry['file']}{size}")
        lines += [f"    from {url} ({reason})" for url, reason in reasons.items()]
        lines.append(f"    to   {folder / entry['file']}")
    return "\n".join(lines)


def fetch(entry, folder, pauses):
    """Download one archive into `folder`, from the first of its addresses that has it.

    The addresses are tried in turn, once after each of the `pauses` (seconds); whenever more of
    the archive than ever has arrived, the pauses begin anew.

    Raises:
        NotFetched: no address gave the right file.
        OSError: it cannot be written.
    """
    part = folder / f"{entry['file']}.part"
    urls, reasons, furthest = list(entry["urls"]), {}, _size(part)
    waiting = list(pauses)
    while urls and waiting:
        time.sleep(waiting.pop(0))
        for url in list(urls):
            continued = _size(part) > 0
            try:
                _receive(url, part, entry)
                verify(part, entry)
                os.replace(part, folder / entry["file"])
                return
            except Interrupted as error:
                reasons[url] = error
                if _size(part) > furthest:
                    furthest, waiting = _size(part), list(pauses)
            except Refused as error:
                reasons[url] = error
                urls.remove(url)
            except WrongArchive as error:
                reasons[url] = error
                part.unlink()
                if not continued:  # else what was there before may have been the wrong part
                    urls.remove(url)
    raise NotFetched(reasons)


def _size(path):
    return path.stat().st_size if path.exists() else 0


def _receive(url, part, entry):
    """Append to `part` what it lacks of the file at `url`; write it anew if the server insists."""
    offset = _size(part)
    if offset >= entry.get("bytes", offset + 1):
        return  # all is here that can be: verification decides
    response = _ask(url, offset)
    if response is None:
        if offset < entry.get("bytes", offset):
            raise Refused(f"the file there has no more than {offset:,} of {entry['bytes']:,} bytes")
        return
    with response:
        offset, total = _extent(response, offset)
        limit = entry.get("bytes", total)
        if None not in (total, limit) and total != limit:
            raise Refused(f"the file there has {total:,} bytes and should have {limit:,}")
        mode = "ab" if offset else "wb"
        with _progress(entry["file"], offset, limit) as bar, open(part, mode) as file:
            for block in _blocks(response):
                offset += len(block)
                if limit is not None and offset > limit:
                    raise WrongArchive(f"the file there has more than the expected {limit:,} bytes")
                file.write(block)
                bar.update(len(block))
    if limit is not None and offset < limit:
        raise Interrupted(f"the connection ended after {offset:,} of {limit:,} bytes")


def _progress(name, offset, total):
    scale = {"unit": "B", "unit_scale": True, "unit_divisor": 1024}
    return tqdm(desc=name, initial=offset, total=total, disable=None, **scale)


def _ask(url, offset):
    """Return the response of `url`, from byte `offset` on; None if the file has no more bytes."""
    headers = {"User-Agent": "rdrop_fairseq"}
    if offset:
        headers["Range"] = f"bytes={offset}-"
    request = urllib.request.Request(url, headers=headers)
    try:
        return urllib.request.build_opener(_SafeRedirects).open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if offset and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return None
        retry = error.code >= 500 or error.code in WORTH_ANOTHER_TRY
        answer = f"the server answers {error.code} {error.reason}"
        raise (Interrupted if retry else Refused)(answer) from error
    except urllib.error.URLError as error:
        raise Unreachable(f"no connection: {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(f"the connection failed: {error}") from error


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to https, and to http only from http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in {"https", req.type}:
            msg = f"redirect to {newurl}, which is not followed"
            raise urllib.error.HTTPError(req.full_url, code, msg, headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _extent(response, offset):
    """Return where the body of a response starts in the file, and the file's size or None."""
    if response.headers.get_content_type() == "text/html":
        raise Refused(
            "a web page answers in place of the archive, perhaps from a proxy or the login page "
            "of a network"
        )
    length = response.headers.get("Content-Length", "")
    if response.status == http.HTTPStatus.OK:  # the whole file, even where a part was asked for
        return 0, int(length) if length.isdigit() else None
    content_range = response.headers.get("Content-Range", "")
    match = re.fullmatch(rf"bytes {offset}-\d+/(\d+|\*)", content_range)
    if response.status != http.HTTPStatus.PARTIAL_CONTENT or not match:
        raise Refused(f"the server answers {response.status} {content_range}, not what was asked")
    return offset, int(match[1]) if match[1].isdigit() else None


def _blocks(response):
    while True:
        try:
            block = response.read1(BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise Interrupted(f"the connection failed: {error}") from error
        if not block:
            return
        yield block


def read_archives(table):
    """Return the entries of a table's archives.

    Raises:
        DownloadError: it is not a table, or one that asks for what no table should.
    """
    try:
        archives = json.loads(table.read_text(encoding="utf-8"))["archives"]
        for entry in archives:
            if Path(entry["file"]).name != entry["file"]:
                raise DownloadError(f"{table}: {entry['file']!r} is not the plain name of a file.")
            for url in entry["urls"]:
                if urllib.parse.urlsplit(url).scheme not in ("https", "http"):
                    raise DownloadError(f"{table}: {url!r} is not an address of https or http.")
    except OSError as error:
        raise DownloadError(f"Cannot read {table}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DownloadError(f"{table} is not the table of a corpus ({error!r}).") from error
    return archives


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--corpus", type=Path, required=True, help="the table, a corpus.json")
    parser.add_argument("--to", type=Path, required=True, help="folder for the archives")
    args = parser.parse_args(argv)
    try:
        download(read_archives(args.corpus), args.to)
    except DownloadError as error:
        sys.exit(f"{parser.prog}: {error}")
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped; the same command continues from here.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
