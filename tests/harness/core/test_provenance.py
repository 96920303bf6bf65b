"""What a record says of its making."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path

import pytest

from harness.core import provenance


def test_environment_names_versions_and_machine() -> None:
    import torch

    found = provenance.describe_environment("cpu", 2)
    assert found.torch == torch.__version__ and (found.threads, found.gpu) == (2, None) and found.cpu


def test_time_is_utc() -> None:
    moment = datetime.datetime.fromisoformat(provenance.get_utc_time())
    assert moment.utcoffset() == datetime.timedelta(0)


def test_version_of_what_is_not_there() -> None:
    assert provenance.get_version("no-such-package") == "absent"


def test_commit_says_dirty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> str:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        done = subprocess.run(["git", "-C", str(tmp_path), *who, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    (tmp_path / "harness").mkdir()
    (tmp_path / "file").write_text("1")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "harness" / "core" / "provenance.py"))
    provenance.read_commit.cache_clear()
    assert provenance.read_commit() is None
    git("init", "-q")
    git("add", "file")
    git("commit", "-qm", "x")
    provenance.read_commit.cache_clear()
    assert provenance.read_commit() == git("rev-parse", "HEAD")
    (tmp_path / "file").write_text("2")
    provenance.read_commit.cache_clear()
    assert provenance.read_commit() == git("rev-parse", "HEAD") + "+dirty"
    provenance.read_commit.cache_clear()
