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

from harness.core.method import METHODS
from harness.replicas import cuda_graph as capture
from harness.training import trainer as train
from methods.layers.lowrank import LowRankLinear
from methods.layers.matrices import MatrixBank
from tests.harness.sittings import Seen, assert_near, assert_same_bits, planned, sitting, stored
from tests.harness.small_training import protocol, rows, trainer


class NoGraph(capture.GraphRunner):
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
    monkeypatch.setattr(train, "make_runner", lambda compute, device: NoGraph(compute))


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


@pytest.mark.slow
def test_want_of_memory_parts_the_pack_where_it_stands_and_leaves_only_what_is_alone_eager(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = planned("lora", (10, 10))
    sitting(tmp_path / "plain", asked, Seen())
    refuse_with(monkeypatch, torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB"))
    said = sitting(tmp_path / "refused", asked, Seen())
    (step,) = re.findall("2 smaller packs resume from step ([0-9]+)", said)
    assert int(step) > 0
    for record in stored(tmp_path / "refused", asked[0]):
        assert record.extra["split at step"] == int(step) and "out of memory" in record.extra["not captured"]
    assert_near(tmp_path / "plain", tmp_path / "refused", asked[0])


class Again:
    """A graph of this test: its replay computes the step."""

    def __init__(self, own: NoGraph, rows: Tensor, shape: Any) -> None:
        self.own, self.rows, self.shape, self.losses = (
            own,
            rows,
            shape,
            torch.zeros(own._seen[len(rows), shape], dtype=torch.float64),
        )

    def replay(self) -> None:
        self.losses.copy_(self.own.compute(self.rows, self.shape))


class Tight(NoGraph):
    """Memory for one shape: where another is captured, its first step finds too little, and so does its capture."""

    captures, starved = 0, False

    def step(self, rows: Tensor, shape: Any, *, plain: bool) -> Tensor:
        self.starved = bool(self._graphs) and (len(rows), shape) not in self._graphs
        return super().step(rows, shape, plain=plain)

    def _capture(self, key: Any, rows: Tensor, shape: Any) -> bool:
        if self.starved:
            self.capturing = True
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        made = Again(self, torch.empty_like(rows), shape)
        self._graphs[key] = made, made.rows, made.losses  # type: ignore[assignment]
        self.captures += 1
        return True


def test_graphs_give_way_to_the_step_of_another_shape(
    monkeypatch: pytest.MonkeyPatch, refusing: None, tiny_bert: Callable[..., nn.Module]
) -> None:
    """Bit by bit what the same steps give where memory suffices. Shapes that drive each other out end it."""
    found = []
    for kind in (capture.EagerRunner, Tight):
        monkeypatch.setattr(train, "make_runner", lambda compute, device, kind=kind: kind(compute))
        own = [METHODS.get("lorasp")(), METHODS.get("lora")()]
        split = rows(44)
        split.lengths[:] = 12  # two shapes: the sixth batch of an epoch is a shorter one
        made, attached = trainer(tiny_bert(), own, [protocol()] * 2, [0, 1], split)
        whole = made.loss_of

        def wanting(logits: Tensor, targets: Tensor, k: int, *, made: Any = made, whole: Any = whole) -> Tensor:
            if getattr(made.runner, "starved", False):
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            loss: Tensor = whole(logits, targets, k)
            return loss

        made.loss_of = wanting
        losses = [made.train_step(step).clone() for step in range(18)]
        found += [[*losses, *(g.theta.detach().clone() for g in attached.groups)]]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert isinstance(made.runner, Tight) and made.runner.captures == 5
    with pytest.raises(torch.cuda.OutOfMemoryError):
        made.train_step(18)
    assert made.is_intact


def test_graphs_are_captured_anew_in_a_pool_of_their_own(refusing: None) -> None:
    """Torch refuses a pool whose graphs are gone and of which something lives, the losses of a step, say."""
    made = NoGraph(lambda rows, shape: rows)
    pools = [made._pool]
    for again in (made.reset, made.free):
        made._seen["shape"] = 1
        made._graphs["shape"] = ()  # type: ignore[assignment]
        again()
        assert not made._graphs
        pools.append(made._pool)
    assert len({id(pool) for pool in pools}) == 3


@contextlib.contextmanager
def nothing_runs(matrices: MatrixBank) -> Iterator[None]:
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
        found.append([float(made.train_step(step)) for step in range(6)])
        assert (made.runner.fallback is not None) == capturing
    assert found[0] == found[1]


def test_what_is_alone_takes_the_memory_of_graphs_before_it_stays_eager(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_with(monkeypatch, torch.cuda.OutOfMemoryError("CUDA out of memory"))
    made, rows_of_one = NoGraph(lambda rows, shape: torch.ones(1)), torch.arange(2)
    made.step(rows_of_one, "short", plain=False)
    made._graphs["long"] = Again(made, rows_of_one, "short"), rows_of_one, rows_of_one  # type: ignore[assignment]
    with pytest.raises(torch.cuda.OutOfMemoryError):
        made.step(rows_of_one, "short", plain=False)
    assert made.fallback is None and made.free() and not made.free() and not made.capturing
    assert made.step(rows_of_one, "short", plain=False) == 1 and "out of memory" in (made.fallback or "")
