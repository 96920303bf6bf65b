"""Train 3, save, load, train 3 more: bit by bit what 6 at once give, for every method and strategy."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import nn

from harness.core.method import METHODS, Method
from harness.core.protocol import Protocol
from harness.replicas.groups import Attached
from harness.training.trainer import Trainer
from tests.harness.small_training import protocol, rows, trainer
from tests.methods.checks import EVERY

OPTIONS: dict[str, dict[str, Any]] = {"galore": {"update_every": 4}, "adalora": {"rank": 2, "start_rank": 4}}
"""So that the schedules have something to go on with at step 3."""


class Stopped(Exception):
    pass


def fresh(
    tiny_bert: Callable[..., nn.Module], methods: Sequence[Method], protocols: Sequence[Protocol]
) -> tuple[Trainer, Attached]:
    return trainer(tiny_bert(dropout=0.1), methods, protocols, list(range(len(methods))), rows())


def run(made: Trainer, until: int | None = None) -> None:
    def progress(step: int, losses: Sequence[float]) -> None:
        if step == until:
            raise Stopped

    with contextlib.suppress(Stopped):
        made.run(lambda members: None, progress)


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    loaded: dict[str, Any] = torch.load(stream, weights_only=True)
    return loaded


def assert_same(one: tuple[Trainer, Attached], other: tuple[Trainer, Attached]) -> None:
    for a, b in zip(one[1].groups, other[1].groups, strict=True):
        assert torch.equal(a.theta, b.theta)
    for a, b in zip(one[0].optimizer.moments["second"], other[0].optimizer.moments["second"], strict=True):
        assert torch.equal(a, b)
    assert one[0].histories == other[0].histories and one[0].optimizer.steps == other[0].optimizer.steps


@pytest.mark.parametrize(
    ("name", "options"), [("galore", {}), ("adalora", OPTIONS["adalora"]), ("lorasp", {"resample": 2})]
)
def test_a_state_takes_no_memory_of_the_device(
    name: str, options: dict[str, Any], tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is taken of a pack that has found too little of it; a clone lies where its original does."""
    made, _ = fresh(tiny_bert, [METHODS.get(name)(**options)], [protocol()])
    run(made, 3)

    def refuse(tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.Tensor, "clone", refuse)
    assert made.state()["optimizer"]["steps"] == 3


@pytest.mark.parametrize("name", EVERY)
def test_going_on_from_a_file_is_going_on(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    method = METHODS.get(name)(**OPTIONS[name]) if name in OPTIONS else EVERY[name]
    six = [protocol(max_steps=6)]
    straight = fresh(tiny_bert, [method], six)
    run(straight[0])
    half = fresh(tiny_bert, [method], six)
    run(half[0], until=3)
    assert half[0].optimizer.steps == 3
    state = through_a_file(half[0].state())
    start = [g.theta.detach().clone() for g in half[1].groups]
    run(half[0])  # what was saved is a copy: going on does not touch it
    assert_same(straight, half)
    again = fresh(tiny_bert, [method], six)
    again[0].restore(state)
    assert all(torch.equal(g.theta, s) for g, s in zip(again[1].groups, start, strict=True))
    run(again[0])
    assert_same(straight, again)


@pytest.mark.parametrize("until", [2, 4, 7])
def test_a_pack_goes_on_before_and_after_a_replica_has_left(until: int, tiny_bert: Callable[..., nn.Module]) -> None:
    methods = [METHODS.get("lora")(rank=4), METHODS.get("lorasp")(rank=8), METHODS.get("lorasp")(select="rank")]
    protocols = [protocol(max_steps=n) for n in (10, 3, 6)]
    straight = fresh(tiny_bert, methods, protocols)
    run(straight[0])
    half = fresh(tiny_bert, methods, protocols)
    run(half[0], until)
    again = fresh(tiny_bert, methods, protocols)
    again[0].restore(through_a_file(half[0].state()))
    assert again[0].members == [m for m, total in enumerate((10, 3, 6)) if total > until]
    run(again[0])
    assert_same(straight, again)


def test_what_a_state_leaves_out_is_seen(tiny_bert: Callable[..., nn.Module]) -> None:
    """Hand-broken: moments that start again give other weights, so the comparison has teeth."""
    ten, method = [protocol(max_steps=10)], METHODS.get("lora")()
    straight, half, again = (fresh(tiny_bert, [method], ten) for _ in range(3))
    run(straight[0])
    run(half[0], until=5)
    state = half[0].state()
    for moment in state["optimizer"]["moments"]["second"]:
        moment.zero_()
    again[0].restore(state)
    run(again[0])
    assert not torch.equal(straight[1].groups[0].theta, again[1].groups[0].theta)
