"""Downloading from a real HTTP server on loopback, one that can also misbehave."""

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lamo.errors import DatasetError
from training.data.download import download

CONTENT = bytes(range(256)) * 40


class FileServer(ThreadingHTTPServer):
    """Serves CONTENT under any path but /missing, with ranges, and remembers the ranges it was asked for.

    `breaks_after`: closes the connection after so many bytes of each answer; None: never.
    `ranges_known`: False, and it answers every request with the whole file.
    `first_byte_lie`: how far off the range of an answer begins.
    """

    breaks_after: int | None = None
    ranges_known = True
    first_byte_lie = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []

    def url(self, path: str = "/file.bin") -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.server.asked.append(asked)
        begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and self.server.ranges_known else 0
        if self.path == "/missing":
            self.send_error(404)
        elif begin >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._send(begin, partial=asked is not None and self.server.ranges_known)

    def _send(self, begin: int, *, partial: bool) -> None:
        self.send_response(206 if partial else 200)
        if partial:
            first = begin + self.server.first_byte_lie
            self.send_header("Content-Range", f"bytes {first}-{len(CONTENT) - 1}/{len(CONTENT)}")
        self.send_header("Content-Length", str(len(CONTENT) - begin))
        self.end_headers()
        end = None if self.server.breaks_after is None else begin + self.server.breaks_after
        self.wfile.write(CONTENT[begin:end])

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "file.bin"


def part_of(target: Path) -> Path:
    return target.with_name("file.bin.part")


def fetch(server: FileServer, target: Path, path: str = "/file.bin", sha256: str | None = None) -> None:
    download(server.url(path), target, sha256=sha256, check=lambda _: None)


def test_a_file_comes_whole_into_a_folder_that_is_made(server: FileServer, target: Path) -> None:
    fetch(server, target, sha256=hashlib.sha256(CONTENT).hexdigest())
    assert target.read_bytes() == CONTENT
    assert not part_of(target).exists()


def test_a_file_that_is_there_is_not_asked_for(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"mine")
    fetch(server, target)
    assert (target.read_bytes(), server.asked) == (b"mine", [])


def test_a_download_that_broke_off_goes_on_where_it_stopped(server: FileServer, target: Path) -> None:
    server.breaks_after = 4000
    with pytest.raises(DatasetError, match=r"could not be downloaded .*4000 bytes are kept in .*file\.bin\.part"):
        fetch(server, target)
    assert not target.exists()
    with pytest.raises(DatasetError, match="8000 bytes are kept"):
        fetch(server, target)
    server.breaks_after = None
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=4000-", "bytes=8000-"]


def test_a_host_without_ranges_sends_it_all_again(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(b"begun")
    server.ranges_known = False
    fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_a_part_that_was_whole_is_checked_and_taken(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    fetch(server, target)
    assert target.read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


def test_a_part_longer_than_the_file_is_begun_again(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT + b"more")
    fetch(server, target)
    assert target.read_bytes() == CONTENT


def test_a_host_that_answers_another_range_is_refused_and_the_part_unharmed(
    server: FileServer, target: Path
) -> None:
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT[:100])
    server.first_byte_lie = 7
    with pytest.raises(DatasetError, match="asked from byte 100, the host answered from byte 107"):
        fetch(server, target)
    assert part_of(target).read_bytes() == CONTENT[:100]


def test_a_missing_file_is_said_with_the_hosts_answer(server: FileServer, target: Path) -> None:
    with pytest.raises(DatasetError, match=r"/missing could not be downloaded \(the host answers 404 Not Found\)$"):
        fetch(server, target, "/missing")


def test_a_dead_host_is_one_sentence(server: FileServer, target: Path) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(DatasetError, match="could not be downloaded"):
        fetch(server, target)


def test_another_hash_throws_the_file_away(server: FileServer, target: Path) -> None:
    found = hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(DatasetError, match=f"is not the file: it has SHA-256 {found}, the known one is 00"):
        fetch(server, target, sha256="00")
    assert not target.exists()
    assert not part_of(target).exists()


def test_a_file_that_fails_its_check_is_thrown_away(server: FileServer, target: Path) -> None:
    def refuse(path: Path) -> None:
        assert path.read_bytes() == CONTENT
        raise DatasetError("it is no such thing")

    with pytest.raises(DatasetError, match="is not the file: it is no such thing"):
        download(server.url(), target, sha256=None, check=refuse)
    assert not part_of(target).exists()
