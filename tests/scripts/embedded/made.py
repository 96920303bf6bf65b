"""Run a generator script in a process of its own and read what it wrote."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import suites.embedded

SHIPPED = Path(suites.embedded.__file__).parent


def made(suite: str, folder: Path, seed: int) -> dict[str, bytes]:
    """Bytes by relative path; string hashing is salted, so that no order of a set may show."""
    command = [sys.executable, "-m", f"scripts.embedded.{suite}.generate", "--out", str(folder), "--seed", str(seed)]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "1"})
    return contents(folder / suite)


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes of all files by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def size_of(folder: Path) -> int:
    """Bytes of a folder's files together."""
    return sum(len(data) for data in contents(folder).values())
