"""lamo-keys: a key is printed once, the file keeps its hash, and what people wrote beside it stays."""

from __future__ import annotations

import stat

import pytest

from service.owners.keys_cli import main
from service.owners.owners import read_keyring


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.toml"


def new(path, capsys, *arguments: str) -> str:
    assert main(["new", *arguments, "--file", str(path)]) == 0
    return capsys.readouterr().out.strip()


def test_a_new_key_is_printed_and_only_its_hash_is_kept(path, capsys):
    limits = ("--policies", "hopper*, ant", "--in-flight", "64", "--starts-per-second", "5")
    key = new(path, capsys, "lab.one", *limits, "--scopes", "act")
    assert key not in path.read_text()
    assert key.split("_", 2)[2] not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    grant = read_keyring(path).grant(key)
    assert (grant.owner, grant.scopes) == ("lab.one", {"act"})
    assert grant.limits.policies == ("hopper*", "ant")
    assert (grant.limits.in_flight, grant.limits.starts_per_second) == (64, 5.0)


def test_a_second_key_of_an_owner_shares_its_limits_and_has_scopes_of_its_own(path, capsys):
    first = new(path, capsys, "lab", "--in-flight", "2")
    second = new(path, capsys, "lab", "--scopes", "read")
    new(path, capsys, "other")
    third = new(path, capsys, "lab")  # behind another owner's tables
    grants = [read_keyring(path).grant(key) for key in (first, second, third)]
    assert {grant.owner for grant in grants} == {"lab"}
    assert {grant.limits.in_flight for grant in grants} == {2}
    assert [sorted(grant.scopes) for grant in grants] == [["act", "read"], ["read"], ["act", "read"]]


def test_a_key_that_is_removed_is_gone_and_the_rest_stays(path, capsys):
    path.write_text("# our teams\n\n[owners.lab]\nin_flight = 3  # as agreed\n")
    path.chmod(0o640)
    first, second = new(path, capsys, "lab"), new(path, capsys, "lab")
    path.write_text(path.read_text() + "# the robot in hall 2 holds the next one\n")
    third = new(path, capsys, "lab")
    assert main(["remove", second.split("_")[1], "--file", str(path)]) == 0
    keyring = read_keyring(path)
    assert [keyring.grant(key) is not None for key in (first, second, third)] == [True, False, True]
    for comment in ("# our teams", "# as agreed", "# the robot in hall 2 holds the next one"):
        assert comment in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [left.name for left in path.parent.iterdir()] == [path.name]


def test_a_link_to_the_file_stays_one(path, capsys, tmp_path):
    new(path, capsys, "lab")
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    key = new(link, capsys, "lab")
    assert link.is_symlink()
    assert read_keyring(path).grant(key)


def test_a_list_shows_everything_but_secrets(path, capsys):
    key = new(path, capsys, "lab", "--in-flight", "8")
    assert main(["list", "--file", str(path)]) == 0
    _, row = capsys.readouterr().out.strip().splitlines()
    assert row.split()[:3] == [key.split("_")[1], "lab", "act,read"]
    assert "sha256" not in row
    assert read_keyring(path).grant(key).limits.in_flight == 8


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["new", "lab", "--in-flight", "9"], "owner 'lab' has a table already: change its in_flight in"),
        (["new", "a/b"], "owners.a/b: string should match pattern"),
        (["new", "lab", "--scopes", "act,all"], "scopes.1: input should be 'act', 'read' or 'admin'"),
        (["new", "b", "--starts-per-second", "0"], "owners.b.starts_per_second: input should be greater than 0"),
        (["remove", "0123456789ab"], "has no key '0123456789ab'"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_one_sentence_and_changes_nothing(arguments, sentence, path, capsys):
    new(path, capsys, "lab")
    before = path.read_bytes()
    assert main([*arguments, "--file", str(path)]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("lamo-keys: ")
    assert sentence in told.err
    assert told.out == ""
    assert path.read_bytes() == before


def test_a_key_in_a_line_with_others_is_left_to_people(path, capsys):
    text = f'[owners.lab]\nkeys = [{{id = "0123456789ab", sha256 = "{"0" * 64}"}}]\n'
    path.write_text(text)
    assert main(["remove", "0123456789ab", "--file", str(path)]) == 2
    assert "key '0123456789ab' is in no [[...keys]] table of its own" in capsys.readouterr().err
    assert path.read_text() == text


def test_a_file_that_cannot_be_read_is_named(path, capsys):
    assert main(["list", "--file", str(path)]) == 2
    assert f"keys file {path} cannot be read: No such file or directory" in capsys.readouterr().err
