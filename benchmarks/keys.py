"""What asking for a key costs per act: the head looked at and its caller found, without and with a keys file.

    python benchmarks/keys.py --out FILE

Prints microseconds of CPU per request, of the best round. "sent to an engine" is what the caller takes of the frame
between an HTTP worker and an engine, packed and unpacked, which there is only with workers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import msgpack
from pages.page import describe_machine, markdown_table

from service.callers import Caller
from service.owners.keys_file import KeysFile
from service.owners.keys_text import KeysText
from service.owners.owners import read_keyring
from service.processes.frames import caller_of, caller_values
from service.web.admission import Admission
from service.web.arrival import Arrival

OWNERS = 1000

ROUNDS, REQUESTS = 60, 2000

TITLES = ("head looked at, caller found", "caller found", "sent to an engine")


def head(key: str) -> dict[str, Any]:
    """The head of an act, as the server gives it."""
    headers = [
        (b"host", b"localhost:8000"),
        (b"content-type", b"application/json"),
        (b"content-length", b"220"),
        (b"authorization", f"Bearer {key}".encode()),
    ]
    return {"method": "POST", "path": "/episodes/e/act", "client": ("127.0.0.1", 5000), "headers": headers}


def keys_of(owners: int, folder: Path) -> tuple[KeysFile, str]:
    """A keys file of so many owners with a key each, and one of the keys."""
    text, key = KeysText(folder / "keys.toml", ""), ""
    limits = {"in_flight": 64, "starts_per_second": 5.0}
    tables = []
    for number in range(owners):
        one, key = text.with_key(f"owner-{number}", ["act", "read"], limits, date(2026, 1, 1))
        tables.append(one.text)
    KeysText(text.path, "\n".join(tables)).write()
    keys = KeysFile(text.path)
    keys.open()
    return keys, key


def microseconds(work: Callable[[], object]) -> float:
    """Per call, of the best round."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.thread_time()
        for _ in range(REQUESTS):
            work()
        best = min(best, (time.thread_time() - began) / REQUESTS)
    return 1e6 * best


def admitted(door: Admission, scope: dict[str, Any]) -> Caller | None:
    """Whose request it is, from its head."""
    return door.admit(Arrival.of(scope))


def sent(caller: Caller) -> Caller:
    """A caller as an engine gets it."""
    return caller_of(msgpack.unpackb(msgpack.packb(caller_values(caller))))


def rows(door: Admission, key: str) -> list[float]:
    """The figures with or without keys."""
    scope = head(key)
    caller = admitted(door, scope)
    if caller is None:
        raise SystemExit("the door is open to this request")
    works = (partial(admitted, door, scope), partial(door.admit, Arrival.of(scope)), partial(sent, caller))
    return [microseconds(work) for work in works]


def milliseconds_to_read(path: Path) -> float:
    """How long reading the file again takes, beside the event loop."""
    began = time.perf_counter()
    read_keyring(path)
    return 1e3 * (time.perf_counter() - began)


def main() -> None:
    """Measure and print the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, help="also write the page here")
    options = parser.parse_args()
    facts = [f"- {name}: {told}" for name, told in describe_machine(1).items()]
    with tempfile.TemporaryDirectory() as folder:
        keys, key = keys_of(OWNERS, Path(folder))
        figures = zip(TITLES, rows(Admission(None), key), rows(Admission(keys), key), strict=True)
        table = [[title, *(f"{figure:.1f}" for figure in measured)] for title, *measured in figures]
        reading = f"Reading the keys of {OWNERS} owners again: {milliseconds_to_read(keys.path):.0f} ms."
    head_line = "per act|without keys, us|with keys, us"
    page = "\n\n".join(["# benchmarks/keys.py", "\n".join(facts), markdown_table(head_line, table), reading]) + "\n"
    print(page, end="")
    if options.out is not None:
        options.out.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
