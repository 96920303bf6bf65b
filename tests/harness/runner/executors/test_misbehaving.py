"""Executors of plugins that break the contract: one line and exit code 2, and no cell is lost without a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.main import main
from harness.core.store import Store
from tests.harness.test_plugins import registered, write

WORDS = "run --methods lora --tasks rte,cola --seeds 1 --max-steps 2 --eval-rows 20 --no-profile --formats csv".split()
WORDS += ["--figures", ""]
EXECUTOR = '''
from harness.contracts import EXECUTORS, LocalExecutor


@EXECUTORS.register("bad")
class Bad(LocalExecutor):
    """Breaks the contract of an executor."""

    def run(self, jobs, checkpoints, listener):
        outcomes = super().run(jobs, checkpoints, listener)
'''
BODIES = {
    "return None": (0, "its run() returns NoneType"),
    "yield 5": (0, "yields int"),
    "return iter(())": (0, "without an outcome for 2 cells"),
    "yield next(outcomes)": (1, "without an outcome for 1 cell;"),
}


@pytest.mark.parametrize("body", BODIES)
def test_cells_without_an_outcome_are_an_error_and_train_later(
    body: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin = write(tmp_path / "bad.py", f"{EXECUTOR}        {body}\n")
    stored, says = BODIES[body]
    out = tmp_path / "out"
    with registered():
        assert main([*WORDS, "--plugin", str(plugin), "--executor", "bad", "--out", str(out)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: executor 'bad'") and says in error
    assert len(Store(out).read()[0]) == stored
    assert main([*WORDS, "--out", str(out)]) == 0
    assert {record.status for record in Store(out).read()[0].values()} == {"ok"}


def test_the_second_outcome_of_a_job_is_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = "for outcome in outcomes:\n            yield from (outcome, outcome)"
    plugin = write(tmp_path / "bad.py", f"{EXECUTOR}        {body}\n")
    with registered():
        assert main([*WORDS, "--plugin", str(plugin), "--executor", "bad", "--out", str(tmp_path / "out")]) == 0
    assert "2/2 cells done" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def bad(setup):\n    return 7", "has no describe(), run(), close()"),
        ("def bad():\n    return 7", "raises TypeError when it is made"),
        ("def bad(setup):\n    raise ValueError('no cluster')", "raises ValueError when it is made: no cluster"),
        ("class Bad(LocalExecutor):\n    workers = None", "has no workers, a number"),
    ],
)
def test_what_is_no_executor_is_refused(
    source: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    head = "from harness.contracts import EXECUTORS, LocalExecutor\n"
    plugin = write(tmp_path / "bad.py", f"{head}\n\n@EXECUTORS.register('bad')\n{source}\n")
    with registered():
        assert main([*WORDS, "--plugin", str(plugin), "--executor", "bad", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
