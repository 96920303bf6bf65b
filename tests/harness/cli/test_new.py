"""`new` writes a plugin that runs, with a test that passes; what is taken is refused in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.cli.main import main

ROOT = Path(__file__).parents[3]


KINDS = {
    "strategy": ("my-own", "lorasp:select=my-own"),
    "method": ("my-other", "my-other"),
    "table": ("my-table", "lora"),
    "schedule": ("my-schedule", "--schedule my-schedule"),
    "optimizer": ("my-optimizer", "--optimizer my-optimizer"),
}
LISTED = """
from harness.cli.main import main
assert main(["strategies", "--plugin", "mine/my_own.py"]) == 0
assert main(["methods", "--plugin", "mine/my_other.py"]) == 0
"""


def process(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_what_it_writes_runs_and_passes_its_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind, (name, call) in KINDS.items():
        assert main(["new", kind, name, "--out", "mine"]) == 0
        said, file = capsys.readouterr().out, name.replace("-", "_")
        assert said.splitlines()[:2] == [f"mine/{file}.py", f"mine/test_{file}.py"] and call in said
        assert len((tmp_path / "mine" / f"{file}.py").read_text().splitlines()) < 22
    tested = process(["-m", "pytest", "-v", "-p", "no:cacheprovider", "mine"], tmp_path)
    assert tested.returncode == 0, tested.stdout
    assert all(f"mine/test_{name.replace('-', '_')}.py::" in tested.stdout for name, _ in KINDS.values())
    listed = process(["-c", LISTED], tmp_path)  # plugins stay registered for a process
    assert listed.returncode == 0, listed.stderr
    for name, _ in (KINDS["strategy"], KINDS["method"]):
        (line,) = [line for line in listed.stdout.splitlines() if line.startswith(name)]
        assert "not measured" in line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["strategy", "random"], "strategy 'random' is already registered"),
        (["method", "lora"], "method 'lora' is already registered"),
        (["strategy", "Two Words"], "allowed: small letters"),
        (["schedule", "cosine"], "schedule 'cosine' is already registered"),
        (["optimizer", "sgd"], "optimizer 'sgd' is already registered"),
        (["suite", "glue"], "suite 'glue' is already registered"),
        (["table", "cost"], "report table 'cost' is already registered"),
        (["plot", "mine"], "allowed: new strategy NAME"),
        (["strategy", "there"], "already exists"),
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
