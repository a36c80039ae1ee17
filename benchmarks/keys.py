"""What asking for a key costs per act: the head looked at and its caller found, without and with a keys file.

    python benchmarks/keys.py

Prints microseconds of CPU per request, of the best round. "sent to an engine" is what the caller takes of the frame
between an HTTP worker and an engine, packed and unpacked, which there is only with workers.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import msgpack

from service.admission import Admission
from service.arrival import Arrival
from service.callers import Caller
from service.frames import caller_of, caller_values
from service.keyring import Keyring
from service.keys_file import KeysFile, opened
from service.keys_text import KeysText

OWNERS = 1000

ROUNDS, REQUESTS = 25, 2000


def head(key: str) -> dict[str, object]:
    """The head of an act, as the server gives it."""
    headers = [
        (b"host", b"localhost:8000"),
        (b"content-type", b"application/json"),
        (b"content-length", b"220"),
        (b"authorization", f"Bearer {key}".encode()),
    ]
    return {"method": "POST", "path": "/episodes/e/act", "client": ("127.0.0.1", 5000), "headers": headers}


def keys_of(owners: int, folder: Path) -> tuple[KeysFile | None, str]:
    """A keys file of so many owners with a key each, and one of the keys."""
    text, key = KeysText(folder / "keys.toml", ""), ""
    limits = {"in_flight": 64, "starts_per_second": 5.0}
    tables = []
    for number in range(owners):
        one, key = text.with_key(f"owner-{number}", ["act", "read"], limits, date(2026, 1, 1))
        tables.append(one.text)
    KeysText(text.path, "\n".join(tables)).write()
    return opened(text.path), key


def microseconds(work: Callable[[], object]) -> float:
    """Per call, of the best round."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.thread_time()
        for _ in range(REQUESTS):
            work()
        best = min(best, (time.thread_time() - began) / REQUESTS)
    return 1e6 * best


def sent(caller: Caller) -> Caller:
    """A caller as an engine gets it."""
    return caller_of(msgpack.unpackb(msgpack.packb(caller_values(caller))))


def milliseconds_to_read(path: Path) -> float:
    """How long reading the file again takes, beside the event loop."""
    began = time.perf_counter()
    keyring: Keyring = KeysText.read(path).owners.keyring
    assert len(keyring) == OWNERS
    return 1e3 * (time.perf_counter() - began)


def main() -> None:
    """Measure and print the table."""
    with tempfile.TemporaryDirectory() as folder:
        keys, key = keys_of(OWNERS, Path(folder))
        open_door, door = Admission(None), Admission(keys)
        scope = head(key)
        arrival = Arrival.of(scope)
        callers = [door.admit(arrival), open_door.admit(arrival)]
        print("| per act | without keys, us | with keys, us |\n| --- | ---: | ---: |")
        without, with_keys = (microseconds(lambda a=a: a.admit(Arrival.of(scope))) for a in (open_door, door))
        print(f"| head looked at, caller found | {without:.1f} | {with_keys:.1f} |")
        without, with_keys = (microseconds(lambda a=a: a.admit(arrival)) for a in (open_door, door))
        print(f"| caller found | {without:.1f} | {with_keys:.1f} |")
        with_keys, without = (microseconds(lambda c=c: sent(c)) for c in callers if c is not None)
        print(f"| sent to an engine | {without:.1f} | {with_keys:.1f} |")
        print(f"\nReading {OWNERS} owners' keys again: {milliseconds_to_read(Path(folder) / 'keys.toml'):.0f} ms.")


if __name__ == "__main__":
    main()
