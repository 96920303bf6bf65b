"""A step that cannot be captured. That captured steps are the plain ones is shown on a GPU (test_gpu.py)."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import capture, train
from tests.harness.sittings import Seen, assert_near, assert_same_bits, planned, sitting, stored


class NoGraph(capture.Captured):
    """The real way of captured steps where a GPU is absent: nothing of CUDA but the refusal."""

    @contextlib.contextmanager
    def stream(self) -> Any:
        yield


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_with(
        monkeypatch, RuntimeError("CUDA error: operation not permitted when stream is capturing\nand more lines")
    )


def refuse_with(monkeypatch: pytest.MonkeyPatch, error: RuntimeError) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise error

    for name in ("Stream", "graph_pool_handle", "CUDAGraph"):
        monkeypatch.setattr(torch.cuda, name, type(name, (), {}))  # a class, as annotations of torch say Stream | None
    monkeypatch.setattr(torch.cuda, "graph", refuse)
    monkeypatch.setattr(train, "runner", lambda compute, device: NoGraph(compute))


def test_a_capture_that_fails_is_told_once_a_pack_and_the_run_goes_on(tmp_path: Path, refusing: None) -> None:
    asked = planned("lora", (10, 10, 6, 6), seeds="4", pack=2)
    said = sitting(tmp_path / "refused", asked, Seen())
    lines = [line for line in said.splitlines() if "without a CUDA graph" in line]
    reason = "RuntimeError: CUDA error: operation not permitted when stream is capturing"
    assert lines == [f"rte: steps run without a CUDA graph: {reason}"] * 2
    assert {r.extra["not captured"] for r in stored(tmp_path / "refused", asked[0])} == {reason}


def test_and_gives_the_same_bits(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    asked = planned("lora", (10, 10))
    sitting(tmp_path / "plain", asked, Seen())
    request.getfixturevalue("refusing")
    sitting(tmp_path / "refused", asked, Seen())
    assert_same_bits(tmp_path / "plain", tmp_path / "refused", asked[0])


def test_want_of_memory_parts_the_pack_where_it_stands_and_leaves_only_what_is_alone_eager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = planned("lora", (10, 10))
    sitting(tmp_path / "plain", asked, Seen())
    refuse_with(monkeypatch, torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB"))
    said = sitting(tmp_path / "refused", asked, Seen())
    (step,) = re.findall("2 smaller packs go on from step ([0-9]+)", said)
    assert int(step) > 0
    for record in stored(tmp_path / "refused", asked[0]):
        assert record.extra["split at step"] == int(step) and "out of memory" in record.extra["not captured"]
    assert_near(tmp_path / "plain", tmp_path / "refused", asked[0])
