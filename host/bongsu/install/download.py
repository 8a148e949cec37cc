"""Fetching one file from the web: by TLS, with its SHA-256 taken on the way, within bounds."""

import hashlib
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

import certifi

from bongsu.channels.address import url_problem
from bongsu.install.image import ImageError

_SILENCE_S = 20.0  # of a server that says nothing
_CHUNK = 64 * 1024
_STEP = "download"
_BY_HAND = "Check the network; or fetch the file by a browser, anywhere, and name it: --image FILE."


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows where it may be fetched from: never out of TLS."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if problem := url_problem(newurl):
            raise urllib.error.URLError(f"it points to {newurl}: {problem}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str, to: Path, *, limit: int, progress: Callable[[str, int, int], None]) -> str:
    """Write what is at `url` to `to`; at most `limit` bytes. Returns its SHA-256, 64 hex digits. Plain http is for
    loopback only. Raises ImageError.
    """
    if problem := url_problem(url):
        raise ImageError(f"cannot download {url}: {problem}", "Correct the address in the board's file.")
    opener = urllib.request.build_opener(_Redirects, urllib.request.HTTPSHandler(context=_trust()))
    try:
        with opener.open(url, timeout=_SILENCE_S) as answer, to.open("wb") as file:
            return _copy(answer, file, limit, progress)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as err:
        raise ImageError(f"cannot download {url}: {_words(err)}", _BY_HAND) from None


def _copy(
    answer: http.client.HTTPResponse, file: IO[bytes], limit: int, progress: Callable[[str, int, int], None]
) -> str:
    total = answer.length or 0  # 0: not said
    digest, done = hashlib.sha256(), 0
    progress(_STEP, 0, total)
    while chunk := answer.read(_CHUNK):
        done += len(chunk)
        if done > limit:
            raise http.client.HTTPException(f"it is larger than {limit:,} bytes")
        digest.update(chunk)
        file.write(chunk)
        progress(_STEP, done, total)
    if done < total:
        raise http.client.HTTPException(f"it ended after {done:,} of {total:,} bytes")
    return digest.hexdigest()


def _trust() -> ssl.SSLContext:
    """The certificates that this machine trusts; without any, those of certifi."""
    paths = ssl.get_default_verify_paths()
    has_any = paths.cafile or (paths.capath and any(Path(paths.capath).iterdir()))
    return ssl.create_default_context(cafile=None if has_any else certifi.where())


def _words(err: Exception) -> str:
    if isinstance(err, urllib.error.HTTPError):
        return f"the server says {err.code} {err.reason}"
    if isinstance(err, urllib.error.URLError):
        reason = err.reason
        return (reason.strerror or str(reason)) if isinstance(reason, OSError) else str(reason)
    return "no answer in time" if isinstance(err, TimeoutError) else str(err)
