"""A step that cannot be captured. That captured steps are the plain ones is shown on a GPU (test_gpu.py)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness import capture, train
from harness.contracts import METHODS
from methods.layers.lowrank import LowRankLinear
from methods.layers.matrices import Matrices
from tests.harness.sittings import Seen, assert_near, assert_same_bits, planned, sitting, stored
from tests.harness.training import protocol, rows, trainer


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


@contextlib.contextmanager
def nothing_runs(matrices: Matrices) -> Iterator[None]:
    """As while a graph is captured: what is written to tensors of old is not, and new ones hold anything."""
    assert matrices.flat is not None
    before = matrices.flat.clone()
    try:
        yield
    finally:
        matrices.flat.copy_(before)
        for cast in matrices._cast.values():
            cast.fill_(float("nan"))


@pytest.mark.parametrize("autocast", [False, True])
def test_what_a_failed_capture_made_ready_is_made_anew(
    autocast: bool, monkeypatch: pytest.MonkeyPatch, tiny_bert: Callable[..., nn.Module]
) -> None:
    """It fails after the model's forward pass; the same step then runs as it comes."""
    found = []
    for capturing in (False, True):
        if capturing:
            refuse_with(monkeypatch, RuntimeError())
            monkeypatch.setattr(torch, "empty_like", torch.zeros_like)  # rows that a graph would not read yet
        model = tiny_bert(dtype=torch.float32)
        made, _ = trainer(model, [METHODS.get("lorasp")()], [protocol(warmup=0.0)], [0], rows())
        made.autocast, whole = autocast, made.loss_of
        site = next(m for m in model.modules() if isinstance(m, LowRankLinear))
        assert site.a.matrices is not None
        matrices = site.a.matrices
        monkeypatch.setattr(torch.cuda, "graph", lambda *_, m=matrices, **__: nothing_runs(m))

        def refused(logits: Tensor, targets: Tensor, k: int, *, own: Any = made, whole: Any = whole) -> Tensor:
            if own.runner.capturing:
                raise RuntimeError("operation not permitted when stream is capturing")
            loss: Tensor = whole(logits, targets, k)
            return loss

        made.loss_of = refused
        found.append([float(made.one_step(step)) for step in range(6)])
        assert (made.runner.fallback is not None) == capturing
    assert found[0] == found[1]
