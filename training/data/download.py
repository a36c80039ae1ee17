"""Downloads one file over HTTP: resumable, with a progress bar, checked, and in place only when it is whole."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx
from filelock import FileLock
from tqdm import tqdm

from lamo.errors import DatasetError
from training.data.fingerprint import sha256_of

TIMEOUT_SECONDS = 30.0
"""Of silence, not of the whole download."""


def download(url: str, target: Path, *, sha256: str | None, check: Callable[[Path], None]) -> None:
    """Fetch `url` into `target`, going on from `<target>.part` where an earlier download stopped.

    Processes that want the same file wait for the one that fetches it.

    Args:
        url: where the file is.
        target: where it goes; its folder is made.
        sha256: the hash it must have, where that is known.
        check: raises DatasetError when the finished file is not what was meant.

    Raises:
        DatasetError: the host does not answer or does not have it, it stopped midway (the part is kept), or the
            file is not what it should be (it is thrown away).
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.is_file():
            return
        part = target.with_name(target.name + ".part")
        try:
            _fetch(url, part)
        except (httpx.HTTPError, OSError) as error:  # the network, or a disk that is full
            kept = f"; {part.stat().st_size} bytes are kept in {part}" if part.is_file() else ""
            raise DatasetError(f"{url} could not be downloaded ({_reason(error)}){kept}") from error
        _check(part, url, sha256, check)
        part.replace(target)


def _fetch(url: str, part: Path) -> None:
    """Append to `part` what is missing of it; one that is no beginning of the file is begun again."""
    if not _append(url, part):
        part.unlink()
        _append(url, part)


def _append(url: str, part: Path) -> bool:
    """False: the host has nothing from there on, because the part is longer than the file."""
    here = part.stat().st_size if part.is_file() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
    with httpx.stream("GET", url, headers=headers, timeout=TIMEOUT_SECONDS, follow_redirects=True) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and here:
            return _total(answer) == here  # whole already: it stopped between the last byte and its checks
        answer.raise_for_status()
        begin, total = _range(answer)
        if begin not in (0, here):
            raise httpx.RemoteProtocolError(f"asked from byte {here}, the host answered from byte {begin}")
        _save(answer, part, begin, total)
    length = part.stat().st_size
    if total is not None and length != total:
        raise httpx.RemoteProtocolError(f"{length} bytes came where {total} were announced")
    return True


def _save(answer: httpx.Response, part: Path, begin: int, total: int | None) -> None:
    name = part.name.removesuffix(".part")
    with (
        part.open("ab" if begin else "wb") as file,
        tqdm(desc=name, initial=begin, total=total, unit="B", unit_scale=True) as progress,
    ):
        for chunk in answer.iter_raw():  # as it comes: chunks of a size would lose the last one when it breaks off
            file.write(chunk)
            progress.update(len(chunk))


def _range(answer: httpx.Response) -> tuple[int, int | None]:
    """The first byte of the answer, and the length of the whole file where the host says it."""
    if answer.status_code == httpx.codes.PARTIAL_CONTENT:
        begin = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        return (int(begin[1]) if begin else -1), _total(answer)
    length = answer.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _total(answer: httpx.Response) -> int | None:
    total = str(answer.headers.get("Content-Range", "")).rpartition("/")[2]
    return int(total) if total.isdecimal() else None


def _check(part: Path, url: str, sha256: str | None, check: Callable[[Path], None]) -> None:
    """Throw the finished part away, and say why, unless it is the file that was meant."""
    try:
        found = sha256_of(part)
        if sha256 is not None and found != sha256:
            raise DatasetError(f"it has SHA-256 {found}, the known one is {sha256}")
        check(part)
    except DatasetError as error:
        part.unlink()
        raise DatasetError(f"what {url} sent is not the file: {error}") from error


def _reason(error: httpx.HTTPError | OSError) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"the host answers {error.response.status_code} {error.response.reason_phrase}".rstrip()
    return str(error) or type(error).__name__
