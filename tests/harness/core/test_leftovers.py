"""What a killed process left is deleted by the next run, under its lock, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.core.errors import UserError
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.data.task_types.classification import LabelledRows
from harness.data.token_cache import get_split_path, write_split
from tests.harness.runner.test_run import go

KILLED = """
import os, signal, sys
from pathlib import Path
from harness.core.files import replace_file
def half(stream):
    stream.write(b"half")
    stream.flush()
    os.kill(os.getpid(), signal.SIGKILL)
replace_file(Path(sys.argv[1]), half)
"""


def kill_while_writing(path: Path) -> Path:
    """The temporary file that is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = set(path.parent.iterdir())
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)])
    assert ended.returncode == -signal.SIGKILL
    (left,) = set(path.parent.iterdir()) - before
    return left


def test_the_next_run_deletes_what_a_killed_one_left(tmp_path: Path) -> None:
    key = "0123456789abcdef"
    names = [f"cells/{key}.json", f"cells/{key}.parquet", f"checkpoints/{key}.pt", "profiles/a.json", "run.json"]
    left = [kill_while_writing(tmp_path / name) for name in names]
    folder = tmp_path / "adapters" / f".{key}.abcd1234" / key
    folder.mkdir(parents=True)
    (folder / "adapter_model.safetensors").write_bytes(b"half")
    Store(tmp_path).read()
    assert all(path.exists() for path in left)  # a reader deletes nothing
    go(tmp_path, methods="lora", seeds="1")
    assert not [path for path in (*left, folder.parent) if path.exists()]


def test_a_file_that_another_command_may_be_writing_stays_until_it_is_old(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.prepare()
    left = kill_while_writing(tmp_path / "report" / "report.html")
    store.repair()
    assert left.exists()
    os.utime(left, (time.time() - 7200,) * 2)
    store.repair()
    assert not left.exists()


def test_what_only_looks_like_one_stays(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.prepare()
    others = [".lock", ".hidden.json", ".notes.txt.abcd1234", "mine.json.abcd1234", ".git.abcd1234"]
    for name in others:
        (store.cells / name).write_text("mine")
    (store.cells / ".folder.abcd1234").mkdir()
    (store.cells / ".link.json.abcd1234").symlink_to(store.cells / ".hidden.json")
    store.repair()
    assert {path.name for path in store.cells.iterdir()} == {*others, ".folder.abcd1234"}
    assert (store.cells / ".hidden.json").read_text() == "mine"


def test_a_run_that_finds_another_at_work_deletes_nothing(tmp_path: Path) -> None:
    from harness.core.listener import SilentListener
    from harness.runner.run import run

    left = kill_while_writing(tmp_path / "cells" / "a.json")
    store = Store(tmp_path)
    store.prepare()
    with store.lock(), pytest.raises(UserError, match="another run"):
        run(make_spec({"tasks": ("rte",), "seeds": "1", "out": tmp_path}), "", lambda total: SilentListener(sys.stderr))
    assert left.exists()


def test_an_old_one_in_the_cache_goes_with_the_next_split_there(tmp_path: Path) -> None:
    split = LabelledRows(
        ["a"], torch.zeros(1, 2).int(), None, np.full(1, 2), torch.zeros(1).long(), np.zeros(1, dtype=bool)
    )
    path = get_split_path(tmp_path, "ab" * 32)
    old, new = (kill_while_writing(path.with_name(name)) for name in ("a.safetensors", "b.safetensors"))
    os.utime(old, (time.time() - 7200,) * 2)
    assert write_split(tmp_path, "ab" * 32, split)
    assert not old.exists() and new.exists() and path.exists()
