"""`bench recompute` as its user meets it."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ByteSize, TypeAdapter
from torch import Tensor

from harness.cli.main import main
from harness.replicas import cuda_graph as capture
from harness.training import trainer as train

SMALL = ["bench", "recompute", "--batch-size", "2", "--length", "8", "--repeats", "3", "--threads", "1"]


def test_every_way_side_by_side_as_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found.json"
    assert main([*SMALL, "--methods", "lora", "--out", str(out)]) == 0
    facts, head, *rows = capsys.readouterr().out.strip().splitlines()
    assert "batch 2 x 8" in facts and "kept for backward" in head
    assert [row.split()[:2] for row in rows] == [["lora", "none"], ["lora", "selective"], ["lora", "full"]]
    none, selective, full = json.loads(out.read_text())["results"]
    assert full["kept_bytes"] < selective["kept_bytes"] < none["kept_bytes"]
    size = re.search(r"[\d.]+ [KM]iB", rows[0])
    assert size and TypeAdapter(ByteSize).validate_python(size[0]) == pytest.approx(none["kept_bytes"], rel=0.01)
    assert " 1.00 (1.00 to 1.00)" in rows[0]
    assert "time of a step / none's" in out.with_suffix(".svg").read_text()
    assert all(len(r["step_seconds"]) == 3 and min(r["step_seconds"]) > 0 for r in (none, selective, full))


def test_steps_lie_on_the_stream_of_a_run_and_a_refused_graph_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inside: list[bool] = []

    class Refused(capture.EagerRunner):
        fallback = "RuntimeError: no"
        entered = False

        def step(self, rows: Tensor, shape: Any, *, plain: bool) -> Tensor:
            inside.append(self.entered)
            return super().step(rows, shape, plain=plain)

        @contextlib.contextmanager
        def stream(self) -> Iterator[None]:
            self.entered = True
            yield
            self.entered = False

    monkeypatch.setattr(train, "make_runner", lambda compute, device: Refused(compute))
    assert main([*SMALL, "--methods", "lora"]) == 0
    assert len(inside) == 3 * (3 + 3) and all(inside)
    assert capsys.readouterr().out.count("(not captured)") == 3


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--methods", "lora:recompute=full"], "leave recompute=... out of --methods"),
        (["--methods", "lorra"], "did you mean 'lora'"),
        (["--dtype", "fp8"], "dtype"),
        (["--methods", "head", "--out", "/nowhere/x.json"], "--out /nowhere/x.json"),
        (["--methods", "head", "--out", "x.png"], "give a name for the JSON, e.g. x.json"),
        (["--methods", "head", "--out", "x.svg"], "give a name for the JSON, e.g. x.json"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(more: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, *more]) == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error")]
    assert says in line
