"""One file over HTTP, going on where an earlier try stopped: for data sets and published checkpoints.

With urllib, because neither torch.hub nor pooch goes on inside a file, and requests or httpx would leave all that is
done here (ranges, stalls, false lengths, hashes, names) still to be done.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.errors import AnalysisError

if TYPE_CHECKING:
    from tqdm import tqdm

TIMEOUT = 30.0  # seconds without a byte, or with fewer than LEAST
LEAST = 1 << 10
ATTEMPTS = 3
CHUNK = 1 << 18


class DownloadError(AnalysisError):
    """The file did not come: one line that names the URL and why. What to do instead is the caller's to add."""

    def __init__(self, why: str, again: bool = True) -> None:
        super().__init__(why)
        self.again = again  # another try may help


def download(
    url: str,
    path: Path,
    *,
    sha256: str = "",
    bar: tqdm | None = None,
    timeout: float = TIMEOUT,
    attempts: int = ATTEMPTS,
) -> None:
    """Download ``url`` into ``path``.part, from where an earlier call left it, and rename it once all of it is right.

    ``sha256``: the first hexadecimal digits that the file's SHA-256 must have; a file with others is deleted. ``bar``
    counts bytes. ``timeout``: seconds without a byte, after which another of ``attempts`` begins.

    DownloadError: no network, refused, cut off, stalled, another file than asked for; what came of the right one stays
    for the next call. AnalysisError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in reversed(range(attempts)):
            try:
                resumed = _continue(url, part, bar, timeout)
                _check(url, part, sha256, resumed)
                break
            except DownloadError as error:
                if not (left and error.again):
                    raise
        part.replace(path)
    except OSError as error:
        what = f"{error.filename or part}: {error.strerror or error}"
        raise AnalysisError(f"cannot write {what}; make room or choose another folder") from None


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _continue(url: str, part: Path, bar: tqdm | None, timeout: float) -> bool:
    """Bring what is missing of ``part``. True: it begins with what earlier requests brought."""
    have = part.stat().st_size if part.is_file() else 0
    response = _request(url, have, part, timeout)
    if response is None:
        return True
    with response:
        start, total = _extent(response, url, have, part)
        if bar is not None:
            bar.total, bar.initial, bar.n = total, start, start
        have = start
        with part.open("ab" if start else "wb") as file:
            for chunk in _chunks(response, url, timeout):
                have += file.write(chunk)
                if bar is not None:
                    bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())  # or a power cut could leave the final name without its bytes
    if total is not None and have != total:
        raise DownloadError(f"{url}: {'cut off after' if have < total else 'sent'} {have} of {total} bytes")
    return start > 0


def _request(url: str, have: int, part: Path, timeout: float) -> HTTPResponse | None:
    """The answer to a request for what comes after ``have`` bytes; None where nothing does."""
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"{url}: not an http:// or https:// address", again=False)
    headers = {"User-Agent": "attention-analysis"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return None
        if error.code == 416:  # longer than the file: no piece of it
            part.unlink()
        again = error.code in (408, 416, 429) or error.code >= 500
        raise DownloadError(f"{url}: the server says {error.code} {_why(error, timeout)}", again) from None
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{url}: {_why(error, timeout)}") from None
    except ValueError as error:
        raise DownloadError(f"{url}: not an address ({_why(error, timeout)})", again=False) from None


def _extent(response: HTTPResponse, url: str, have: int, part: Path) -> tuple[int, int | None]:
    """The byte of the file that the body begins with, and the whole file's size, None where the server does not say."""
    if response.headers.get_content_type() == "text/html":  # of a log-in or a proxy: keep what is there
        raise DownloadError(f"{url}: a web page came instead of the file", again=False)
    if response.status == 200:
        return 0, response.length
    if response.status != 206:
        raise DownloadError(f"{url}: the server says {response.status} {response.reason}", again=False)
    given = response.headers.get("Content-Range", "")
    found = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", given.strip())
    if not found or int(found[1]) != have:
        part.unlink(missing_ok=True)  # this server cannot go on; the next request is for the whole file
        raise DownloadError(f"{url}: asked for the bytes from {have} on, the server sent {given or 'others'}")
    return have, int(found[2]) + 1 if found[3] == "*" else int(found[3])


def _chunks(response: HTTPResponse, url: str, timeout: float) -> Iterator[bytes]:
    """The body, as it comes. Its own function so that a failed read is told from a failed write."""
    fresh, since = 0, time.monotonic()
    try:
        while chunk := response.read1(CHUNK):
            yield chunk
            fresh += len(chunk)
            if fresh >= LEAST:
                fresh, since = 0, time.monotonic()
            elif time.monotonic() > since + timeout:
                raise DownloadError(f"{url}: {fresh} bytes in {timeout:g} s")
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{url}: {_why(error, timeout)}") from None


def _check(url: str, part: Path, sha256: str, resumed: bool) -> None:
    """Delete a file of another hash. One that was put together may be of two versions: it is worth another try."""
    if sha256 and not (found := sha256_of_file(part)).startswith(sha256):
        part.unlink()
        why = f"the SHA-256 of what came begins with {found[: len(sha256)]}, not {sha256}; deleted"
        raise DownloadError(f"{url}: {why}", again=resumed)


def _why(error: Exception, timeout: float) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no byte for {timeout:g} s"
    if isinstance(reason, IncompleteRead):
        return "cut off"
    lines = str(getattr(reason, "strerror", None) or reason).splitlines()
    return lines[0] if lines else type(reason).__name__
