"""Who else is on a GPU: neither this process nor the one that waits for it."""

from __future__ import annotations

import io
import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.core.gpu import Gpu, get_gpu_pid
from harness.core.listener import PlainListener
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.planning.plan import make_plan
from harness.profiling import measure, request
from harness.runner import profiles as profile

OWN, WAITING = os.getpid(), 4


def others(monkeypatch: pytest.MonkeyPatch, waiting: int | None, *pids: int) -> list[int]:
    gpu = Gpu("cpu", waiting)
    found = [SimpleNamespace(pid=pid, usedGpuMemory=1) for pid in pids] + [SimpleNamespace(pid=99, usedGpuMemory=0)]
    monkeypatch.setattr(gpu, "_call_nvml", lambda name: found)
    return gpu.list_other_processes()


def test_others_are_neither_this_process_nor_the_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert others(monkeypatch, None, OWN) == []
    assert others(monkeypatch, None, OWN, WAITING) == [WAITING]
    assert others(monkeypatch, WAITING, OWN, WAITING) == []
    assert others(monkeypatch, WAITING, 12, OWN, WAITING, 7) == [7, 12]


def test_where_a_container_hides_numbers_as_many_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = OWN + 1, OWN + 2, OWN + 3
    assert others(monkeypatch, None, *hidden[:1]) == [] and len(others(monkeypatch, None, *hidden)) == 2
    assert others(monkeypatch, WAITING, *hidden[:2]) == [] and len(others(monkeypatch, WAITING, *hidden)) == 1


def test_a_process_that_has_not_opened_a_gpu_holds_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_gpu_pid() is None
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert get_gpu_pid() == OWN


def test_a_profile_knows_the_run_that_waits_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """As after training on a GPU: the run has it open while each profile is measured."""
    seen: list[int | None] = []

    def answer(preload: str, take: Any, question: request.ProfileRequest, *plugins: Any) -> Any:
        seen.append(question.waiting)
        return measure._build_profile(question, "failed")

    monkeypatch.setattr(profile, "call_alone", answer)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    spec = make_spec({"tasks": ("rte",), "seeds": "1", "methods": "lora", "out": tmp_path / "run", "device": "cpu"})
    store = Store(spec.folder)
    store.prepare()
    profile.profile_missing(make_plan(spec), spec, store, PlainListener(io.StringIO(), 0))
    assert seen == [OWN]
