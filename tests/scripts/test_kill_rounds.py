"""A few rounds of the script that disturbs runs; hundreds are run by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from scripts import kill_rounds


@pytest.mark.slow
def test_disturbed_runs_give_the_records_of_an_undisturbed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attacks = "kill-workers,kill-run,signal-run"
    words = ["kill_rounds", "--rounds", "3", "--each", "1", "--attacks", attacks, "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    assert kill_rounds.main() == 0
    rounds = [json.loads(line) for line in (tmp_path / "rounds.jsonl").read_text().splitlines()]
    assert len(rounds) == 3 and all(one["ok"] for one in rounds)
