"""The keys file: what it may say, and one sentence for what it may not, which never quotes a key."""

from __future__ import annotations

from pathlib import Path

import pytest

from lamo.errors import ConfigError
from service.owners.keys import key_hash, new_key
from service.owners.owners import Owners, read_keyring

KEY_ID, KEY = new_key()
HASH = key_hash(KEY).hex()
ENTRY = f'[[owners.lab.keys]]\nid = "{KEY_ID}"\nsha256 = "{HASH}"\n'


def test_a_file_says_who_may_do_what(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text(
        f"""# two teams
        [owners.lab]
        policies = ["hopper*", "ant"]
        in_flight = 64
        starts_per_second = 5
        [owners."a.b"]
        {ENTRY}
        scopes = ["read"]
        created = 2026-01-02  # a note
        """
    )
    grant = read_keyring(path).grant(KEY)
    assert (grant.owner, grant.scopes, grant.key_id) == ("lab", {"read"}, KEY_ID)
    assert (grant.limits.in_flight, grant.limits.starts_per_second) == (64, 5)
    assert [grant.limits.allow(name) for name in ("hopper-2", "ant", "kitchen")] == [True, True, False]


def test_what_is_not_said_is_act_and_read_on_every_policy_without_limits(tmp_path):
    grant = Owners.of_text(ENTRY, tmp_path).keyring.grant(KEY)
    assert grant.scopes == {"act", "read"}
    assert grant.limits.allow("anything")
    assert grant.limits.in_flight is grant.limits.starts_per_second is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "names no owner: make a key with lamo-keys new OWNER --file"),
        ("[owners", "is not TOML: Expected ']' at the end of a table declaration (at end of document)"),
        ("owner = 1", "cannot be used: owner is unknown"),
        ("[owners.lab]\nquota = 1", "cannot be used: owners.lab.quota is unknown"),
        ('[owners."a/b"]', "cannot be used: owners.a/b: string should match pattern"),
        ("[owners.lab]\nin_flight = 0", "owners.lab.in_flight: input should be greater than or equal to 1"),
        ("[owners.lab]\nin_flight = true", "owners.lab.in_flight: input should be a valid integer"),
        ("[owners.lab]\nstarts_per_second = inf", "owners.lab.starts_per_second: input should be a finite number"),
        (ENTRY + 'scopes = ["boss"]', "owners.lab.keys.0.scopes.0: input should be 'act', 'read' or 'admin'"),
        (ENTRY + "scopes = []", "owners.lab.keys.0.scopes: list should have at least 1 item"),
        (f'[[owners.lab.keys]]\nid = "{KEY_ID}"', "owners.lab.keys.0.sha256 is missing"),
        (
            f'[[owners.lab.keys]]\nid = "{KEY_ID}"\nsha256 = "{KEY}"',
            "owners.lab.keys.0.sha256: string should match",
        ),
        ("owners = " + 10_000 * "[", "is not TOML: maximum recursion depth exceeded"),
        ("owners = " + 5000 * "1", "is not TOML: Exceeds the limit"),
        (ENTRY + ENTRY.replace("lab", "b"), f"has key '{KEY_ID}' more than once"),
    ],
    ids=lambda value: value[:30],
)
def test_what_cannot_be_used_is_said_in_one_sentence(text, sentence, tmp_path):
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_keyring(path)
    told = str(refused.value)
    assert told.startswith(f"keys file {path} ")
    assert sentence in told
    assert "\n" not in told
    assert KEY not in told
    assert HASH not in told


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("missing.toml", "cannot be read: No such file or directory"), (".", "cannot be read: Is a directory")],
)
def test_a_file_that_is_not_there_is_named(path, sentence, tmp_path):
    with pytest.raises(ConfigError, match=sentence):
        read_keyring(tmp_path / path)


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "keys.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_keyring(Path(path))
