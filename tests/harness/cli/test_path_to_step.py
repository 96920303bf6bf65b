"""The path from the command line to a training step is short enough to be read."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from tests.harness.test_plugins import registered

ROOT = Path(__file__).parents[3]
PACKAGES = ("harness", "methods", "reports", "results", "studies", "suites")
MOST_FRAMES = 9
PLUGIN = '''
import dataclasses, json, sys, traceback

from harness.contracts import METHODS
from methods.lora import Lora


@METHODS.register("stack")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Stack(Lora):
    """LoRA that prints the stack of its step: `after_step` is called within it."""

    name = "stack"

    def attach(self, model, members, calibration):
        attached = super().attach(model, members, calibration)
        attached.after_step.append(print_stack)
        return attached


def print_stack(step):
    frames = [(frame.filename, frame.name) for frame in traceback.extract_stack()]
    print("STACK", json.dumps(frames), flush=True)
'''


def test_at_most_nine_of_our_frames_lie_between_the_command_line_and_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between the module harness/__main__.py, which Python runs, and Trainer.train_step, which does one step."""
    (tmp_path / "plugin.py").write_text(PLUGIN)
    flags = "--tasks rte --seeds 1 --methods stack --max-steps 1 --eval-rows 10 --no-profile --device cpu".split()
    flags += ["--formats", "csv", "--figures", ""]
    words = ["harness", "run", "--plugin", str(tmp_path / "plugin.py"), *flags, "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", words)
    with registered(), pytest.raises(SystemExit) as ended:
        runpy.run_module("harness", run_name="__main__")
    assert ended.value.code == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("STACK "))
    frames = [(Path(file), name) for file, name in json.loads(line.removeprefix("STACK "))]
    own = []
    for file, name in frames:
        if file.is_relative_to(ROOT) and file.relative_to(ROOT).parts[0] in PACKAGES:
            own.append((file.relative_to(ROOT).as_posix(), name))
    start, step = (
        own.index(("harness/__main__.py", "<module>")),
        own.index(("harness/training/trainer.py", "train_step")),
    )
    between = own[start + 1 : step]
    assert ("harness/training/trainer.py", "run") in between and len(between) <= MOST_FRAMES, between
