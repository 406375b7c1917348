"""Download one archive from the first of its addresses that has it, and continue what was begun."""

import http.client
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request

from rdrop_tools.corpus.archive import WrongArchive, verify
from rdrop_tools.corpus.table import CorpusError
from rdrop_tools.extras import load

TIMEOUT = 30  # seconds without a byte
BLOCK = 1 << 18
WORTH_ANOTHER_TRY = {408, 425, 429}  # of the 4xx answers; of the others only 5xx are


class Interrupted(CorpusError):
    """The connection failed: another try may succeed."""


class Refused(CorpusError):
    """An address does not have the archive: another try is of no use."""


class Unreachable(Interrupted):
    """There was no connection at all."""


class NotFetched(CorpusError):
    """No address gave the archive; `reasons` says why, {address: CorpusError}."""

    def __init__(self, reasons):
        super().__init__("; ".join(f"{url}: {reason}" for url, reason in reasons.items()))
        self.reasons = reasons


def fetch(archive, folder, pauses):
    """Download one archive into `folder`, from the first of its addresses that has it.

    The addresses are tried in turn, once after each of the `pauses` (seconds); whenever more of
    the archive than ever has arrived, the pauses start again.

    Raises:
        NotFetched: no address gave the right file.
        OSError: it cannot be written.
    """
    part = folder / f"{archive.file}.part"
    urls, reasons, furthest = list(archive.urls), {}, _size(part)
    waiting = list(pauses)
    while urls and waiting:
        time.sleep(waiting.pop(0))
        for url in list(urls):
            continued = _size(part) > 0
            try:
                _receive(url, part, archive)
                verify(part, archive)
                os.replace(part, folder / archive.file)
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


def _receive(url, part, archive):
    """Append to `part` what it lacks of the file at `url`, or all if the server insists on that."""
    offset = _size(part)
    if archive.bytes is not None and offset >= archive.bytes:
        return  # all is here that can be: verification decides
    response = _ask(url, offset)
    if response is None:
        if archive.bytes is not None:
            raise Refused(f"the file there has no more than {offset:,} of {archive.bytes:,} bytes")
        return
    with response:
        offset, total = _extent(response, offset)
        limit = total if archive.bytes is None else archive.bytes
        if None not in (total, limit) and total != limit:
            raise Refused(f"the file there has {total:,} bytes and should have {limit:,}")
        mode = "ab" if offset else "wb"
        with _progress(archive.file, offset, limit) as bar, open(part, mode) as file:
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
    return load("tqdm").tqdm(desc=name, initial=offset, total=total, disable=None, **scale)


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
        """Return the request to follow, or raise HTTPError."""
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
