"""Timing on a real backbone: it takes time, leaves the weights alone, and gives way where memory ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from harness.core.spec import make_spec
from harness.planning.plan import make_plan
from harness.profiling import step_timer
from harness.profiling.request import ProfileRequest
from harness.profiling.step_timer import LEAST, MOST, WARMUP, StepTimer, time_packs, usual_length
from harness.training.trainer import Trainer
from tests.harness.small_training import protocol


def asked(methods: str = "lora,lorasp") -> tuple[ProfileRequest, list, list]:  # type: ignore[type-arg]
    plan = make_plan(make_spec({"tasks": ("rte",), "seeds": "2", "methods": methods}))
    own = [plan.methods[c.key] for c in plan.cells]
    task = plan.suites["glue"].tasks["rte"]
    question = ProfileRequest("", plan.cells[0], own[0], task, plan.models["glue"], 12, "cpu", 1)
    return question, list(plan.cells), own


def test_packs_are_trained_and_the_backbone_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = StepTimer(*asked())
    before = {name: value.clone() for name, value in timer.model.state_dict().items()}
    seen: list[tuple[int, int]] = []
    whole = Trainer.train_step

    def watched(self: Trainer, step: int) -> torch.Tensor:
        seen.append((len(self.members), int(self.split.lengths.max())))
        return whole(self, step)

    monkeypatch.setattr(Trainer, "train_step", watched)
    times = [timer(k) for k in (1, 4)]
    assert all(seconds and seconds > 0 for seconds in times)
    assert set(seen) == {(1, 12), (4, 12)} and seen == sorted(seen)
    assert all(WARMUP + LEAST <= seen.count(each) <= WARMUP + MOST for each in set(seen))
    after = timer.model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[n], after[n]) for n in before)


def test_methods_are_mixed_in_every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = StepTimer(*asked())
    packs: list[list[str]] = []

    def refuse(pack: object, *_: object) -> None:
        packs.append([c.method for c in pack.cells])  # type: ignore[attr-defined]
        raise MemoryError

    monkeypatch.setattr(step_timer, "build_pack_trainer", refuse)
    assert timer(2) is None and packs == [["lora", "lorasp"]]


def test_an_error_that_is_not_of_memory_goes_up(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = StepTimer(*asked())
    monkeypatch.setattr(step_timer, "build_pack_trainer", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        timer(1)


def test_times_of_growing_packs() -> None:
    made = time_packs(*asked("lora"), most=2, replica_steps=10**9)
    assert list(made.steps) == [1, 2] and made.settled and made.seconds > sum(made.steps.values())


def test_usual_length() -> None:
    lengths = np.arange(1, 101)
    assert usual_length(lengths, protocol(batch_size=9)) == 90  # the longest of nine, as a rule
    assert usual_length(lengths, protocol(batch_size=9, group_by_length=True)) == 50
