"""`new` writes a plugin that runs, with a test that passes; what is taken is refused in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.main import main

ROOT = Path(__file__).parents[3]


def harness(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A process of its own: plugins stay registered for a process."""
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})"
    code = f"{path}; from harness.cli.main import main; sys.exit(main({words!r}))"
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("kind", "call"), [("strategy", "lorasp:select=my-own"), ("method", "my-own")])
def test_what_it_writes_runs_and_passes_its_test(kind: str, call: str, tmp_path: Path) -> None:
    done = harness(["new", kind, "my-own", "--out", "mine"], tmp_path)
    assert done.returncode == 0 and done.stdout.splitlines()[:2] == ["mine/my_own.py", "mine/test_my_own.py"]
    assert len((tmp_path / "mine" / "my_own.py").read_text().splitlines()) < 22
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    tested = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "mine"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert tested.returncode == 0 and "passed" in tested.stdout, tested.stdout
    listed = harness(["strategies" if kind == "strategy" else "methods", "--plugin", "mine/my_own.py"], tmp_path)
    assert "my-own" in listed.stdout and "not measured" in listed.stdout
    assert call in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["strategy", "random"], "strategy 'random' is already registered"),
        (["method", "lora"], "method 'lora' is already registered"),
        (["strategy", "Two Words"], "allowed: small letters"),
        (["suite", "mine"], "allowed: new strategy NAME"),
        (["strategy", "there"], "is there already"),
    ],
)
def test_refusals(words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "test_there.py").write_text("kept")
    assert main(["new", *words, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert says in error and len(error.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["test_there.py"] and (
        tmp_path / "test_there.py"
    ).read_text() == "kept"
