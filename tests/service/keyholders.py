"""A keys file with some owners, and clients that hold their keys."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import httpx

from service.owners.keys_text import KeysText
from tests.service.conftest import Service

DAY = date(2026, 1, 2)


class KeysOnDisk:
    """A keys file that is edited as `lamo-keys` edits it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, owner: str, *scopes: str, **limits: Any) -> str:
        """A new key of an owner."""
        file = KeysText.read(self.path, missing=True)
        changed, key = file.with_key(owner, list(scopes or ("act", "read")), limits, DAY)
        changed.write()
        return key

    def remove(self, key: str) -> None:
        KeysText.read(self.path).without_key(key.split("_")[1]).write()


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@asynccontextmanager
async def holder(service: Service, key: str):
    """The same service, asked with a key."""
    transport = service.client._transport
    async with httpx.AsyncClient(transport=transport, base_url="http://service", headers=bearer(key)) as client:
        yield Service(client, service.lifecycle)


def audited(caplog) -> list[dict[str, Any]]:
    """Every audit line so far, as a file would hold it."""
    from service.logs import JsonLines

    records = [record for record in caplog.records if record.name == "lamo.audit"]
    return [json.loads(JsonLines().format(record)) for record in records]
