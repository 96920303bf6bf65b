"""Ctrl-C on the real command."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

WORDS = ("--tasks", "rte", "--methods", "head,lora", "--seeds", "2", "--eval-rows", "40", "--no-profile")


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_resumes(tmp_path: Path) -> None:
    command = [sys.executable, "-u", "-m", "harness", "run", *WORDS, "--out", str(tmp_path), "--threads", "1"]
    slow = [*command, "--max-steps", "100000", "--epochs", "100000"]
    process = subprocess.Popen(slow, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("rte: 2 cells"):
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "the same command runs the rest" in said and "Traceback" not in said
    statuses = [json.loads(p.read_text())["status"] for p in (tmp_path / "cells").glob("*.json")]
    assert Counter(statuses) == {"cancelled": 2}
    done = subprocess.run([*command, "--max-steps", "2", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and json.loads(done.stdout)["ok"] == 4
