"""Every command of the README is run, on the smallest budget."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.bench import memory, startup, startup_process
from harness.bench.memory_process import measure_jobs
from harness.cli.main import main
from tests.reports.records import record, store_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line.strip() for line in re.findall(r"^    (python -m harness .*)$", README, re.M)]
SHORT = ["--max-steps", "1", "--eval-rows", "20", "--train-rows", "32", "--no-profile"]
TINY = ["--batch-size", "2", "--length", "8", "--threads", "1"]
SHORT_BENCH = {
    "step": ["--methods", "lora,full", "--strategies", "row", "--packs", "1,2", "--repeats", "2", *TINY],
    "memory": ["--strategies", "row", "--levels", "nf4", *TINY],
    "startup": ["--repeats", "1", "--threads", "1"],
    "recompute": ["--repeats", "2", *TINY],
}
CODE = re.findall(r"```python\n(.*?)```", README, re.S)


def in_this_process(words: Sequence[str]) -> dict[str, float]:
    """What `bench startup` has a fresh process tell, without the seconds of the imports."""
    if len(words) == 2:
        return {"process": 1.0}
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        startup_process.main(*words[1:])
    return {"process": 1.0} | json.loads(said.getvalue())


def test_readme_shows_the_commands() -> None:
    assert len(COMMANDS) >= 7 and len(CODE) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # their processes, one for each number, are run by tests/harness/bench
    monkeypatch.setattr(memory, "_run_in_process", measure_jobs)
    monkeypatch.setattr(startup, "_run_fresh", in_this_process)
    (tmp_path / "first.py").write_text(CODE[0])
    run = store_of(tmp_path / "stored", [record(60.0)])
    places = {"RUN": str(run), "RUN_A": str(run), "RUN_B": str(run), "KEY": record(60.0).key[:6]}
    words = [places.get(word, word) for word in shlex.split(command)[3:]]
    if words[0] == "run":
        words += [*SHORT, "--out", "out"]
    if words[:2] == ["bench", "grid"]:
        words += [*SHORT[:-1], "--threads", "1"]
    words += SHORT_BENCH.get(words[1], []) if words[0] == "bench" else []
    code = main([w for w in words])
    if any(word.startswith(("DATA", "RUN")) for word in words):
        assert code == 2  # the reader's own folder
    else:
        assert code == 0
        assert words[0] != "run" or (tmp_path / "out" / "report" / "report.html").is_file()


def test_file_tree_names_what_is_there() -> None:
    tree = README.split("## Where things are")[1]
    named = set(re.findall(r"\b(\w+\.py)\b", tree))
    assert named and all(list(ROOT.rglob(name)) for name in named)


def test_make_targets_exist() -> None:
    for target in re.findall(r"^    make (\w+)", README, re.M):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert sys.version_info >= (3, 11)
