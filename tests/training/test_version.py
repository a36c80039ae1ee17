"""The version that is written beside results names the commit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from training import version

GIT = shutil.which("git")


@pytest.mark.skipif(GIT is None, reason="git is not installed")
def test_a_checkout_is_named_by_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    def git(*words: str) -> str:
        settings = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            [str(GIT), *settings, *words], cwd=tmp_path, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    assert version._commit(tmp_path) == ""
    git("init", "--quiet")
    (tmp_path / "file").write_text("one")
    git("add", ".")
    git("commit", "--quiet", "-m", "one")
    commit = git("rev-parse", "HEAD")
    assert commit.startswith(version._commit(tmp_path))
    assert len(version._commit(tmp_path)) == 10
    (tmp_path / "file").write_text("two")
    assert version._commit(tmp_path) == f"{commit[:10]}-dirty"


def test_without_a_repository_the_distributions_version_is_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version, "CHECKOUT", tmp_path)
    version.code_version.cache_clear()
    assert "+" not in version.code_version()
    version.code_version.cache_clear()
