"""The shipped data is what the script makes, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import suites.embedded

SHIPPED = Path(suites.embedded.__file__).parent / "data"


def made(folder: Path, seed: int) -> dict[Path, bytes]:
    command = [sys.executable, "-m", "scripts.embedded.generate", "--out", str(folder), "--seed", str(seed)]
    subprocess.run(command, check=True)
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.tsv")}


def test_the_script_makes_the_shipped_bytes(tmp_path: Path) -> None:
    shipped = {path.relative_to(SHIPPED): path.read_bytes() for path in (SHIPPED / "glue").rglob("*.tsv")}
    assert len(shipped) == 19
    assert made(tmp_path / "0", seed=0) == shipped
    other = made(tmp_path / "1", seed=1)
    assert set(other) == set(shipped) and all(other[path] != shipped[path] for path in shipped)
