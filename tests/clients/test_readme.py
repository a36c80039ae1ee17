"""What the README shows of the client is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import clients

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_names_are_exported() -> None:
    imported = re.findall(r"^from clients import (\w+)$", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert imported
    assert set(imported) <= set(clients.__all__)


def test_the_readmes_calls_exist() -> None:
    text = README.read_text(encoding="utf-8")
    for owner, pattern in ((clients.PolicyClient, r"\bclient\.(\w+)\("), (clients.Episode, r"\bepisode\.(\w+)\(")):
        called = set(re.findall(pattern, text))
        assert called
        assert all(callable(getattr(owner, name, None)) for name in called), called
