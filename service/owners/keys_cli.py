"""lamo-keys: makes, lists and removes the keys of a keys file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from lamo.errors import InputError
from service.owners.keys_text import KeysText, new_owner_fields
from service.owners.owners import DEFAULT_SCOPES


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked.

    Returns:
        0; 2 if the file or a value cannot be used, with one sentence on standard error.
    """
    asked = _parser().parse_args(arguments)
    try:
        asked.command(asked)
    except InputError as error:
        print(f"lamo-keys: {error}", file=sys.stderr)
        return 2
    return 0


def _new(asked: argparse.Namespace) -> None:
    limits = new_owner_fields(asked.policies, asked.in_flight, asked.starts_per_second)
    file = KeysText.read(asked.file, missing=True)
    changed, key = file.with_key(asked.owner, asked.scopes, limits, datetime.now(UTC).date())
    changed.write()
    print(key)
    print("this key is shown once: the file keeps its hash only", file=sys.stderr)


def _remove(asked: argparse.Namespace) -> None:
    KeysText.read(asked.file).without_key(asked.key_id).write()


def _list(asked: argparse.Namespace) -> None:
    owners = KeysText.read(asked.file).owners
    row = "{:12}  {:24}  {:16}  {:10}  {:>9}  {:>8}  {}".format
    print(row("key", "owner", "scopes", "created", "in flight", "starts/s", "policies"))
    for name, key in owners.all_keys():
        owner, created = owners.owners[name], "" if key.created is None else key.created.isoformat()
        limits = ["" if limit is None else f"{limit:g}" for limit in (owner.in_flight, owner.starts_per_second)]
        print(row(key.id, name, ",".join(key.scopes), created, *limits, ",".join(owner.policies)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lamo-keys", description="The keys file of lamo-serve --keys: who may use the service, and how much."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    new = commands.add_parser("new", help="make a key, print it once, and write its hash to the file")
    new.add_argument("owner", metavar="OWNER", help="team whose episodes the key opens; new ones are added")
    new.add_argument("--scopes", type=_names, default=list(DEFAULT_SCOPES), help="of act, read, admin (act,read)")
    new.add_argument("--policies", type=_names, help="names or patterns a new owner may start (*)")
    new.add_argument("--in-flight", type=int, help="acts a new owner may have under way in an engine")
    new.add_argument("--starts-per-second", type=float, help="episodes a new owner may start, on average")
    new.set_defaults(command=_new)
    listed = commands.add_parser("list", help="owners and their keys, without any secret")
    listed.set_defaults(command=_list)
    remove = commands.add_parser("remove", help="refuse a key from now on")
    remove.add_argument("key_id", metavar="KEY_ID", help="as listed: the part between lamo_ and the next _")
    remove.set_defaults(command=_remove)
    for command in (new, listed, remove):
        command.add_argument("--file", type=Path, required=True, help="the keys file")
    return parser


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",")]


if __name__ == "__main__":
    sys.exit(main())
