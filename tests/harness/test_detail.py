"""The detailed profile: phases, repeats, rows of real lengths; and a GPU that others use."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch

from harness import profile
from harness.ceiling import matmul_flops
from harness.gpu import Gpu
from harness.measure import Question, measure
from harness.plan import make_plan
from harness.spec import make_spec


@pytest.fixture
def question(monkeypatch: pytest.MonkeyPatch) -> Iterator[Question]:
    monkeypatch.setattr("harness.detail.TIMED_STEPS", 4)
    spec = make_spec({"tasks": ("rte",), "seeds": "1", "methods": "lora", "threads": 1})
    plan = make_plan(spec)
    (made,) = profile.questions(plan, spec, "cpu").values()
    threads = torch.get_num_threads()
    yield profile._in_detail(made, plan, 2)
    torch.set_num_threads(threads)


def test_phases_repeats_and_real_lengths(question: Question) -> None:
    made = measure(question)
    assert made.status == "ok", made.reason
    assert [p.phase for p in made.phases] == ["load", "first step", "steady step", "evaluation"]
    assert all(p.allocated is None and p.device is None and p.rss > 2**26 for p in made.phases)
    assert len(made.blocks) == 2 and len(made.step_seconds) == 8 and made.rows == "real lengths"
    low, middle, high = made.step_percentiles or (1, 0, 0)
    assert low <= middle <= high
    assert made.padding and 0 < made.padding < 1 and made.flops and made.launches
    assert made.samples_per_second and made.tokens_per_second and made.shares and made.shares.total > 0
    assert made.joules_per_1000 is None and made.ceiling_share and 0 < made.ceiling_share < 1


def test_without_rows_batches_are_full(question: Question) -> None:
    made = measure(dataclasses.replace(question, rows=()))
    assert made.rows == "full length" and made.padding == 0
    assert [p.phase for p in made.phases] == ["load", "first step", "steady step"]


def test_a_shared_gpu_gets_no_throughput(question: Question, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gpu, "others", lambda self: [17])
    made = measure(question)
    assert made.status == "ok" and made.shared_with == [17] and "17" in (made.reason or "")
    assert made.samples_per_second is None and made.step_seconds == [] and made.tokens_per_second is None
    assert made.shares is not None and made.phases


def test_the_cpu_has_no_nvml() -> None:
    gpu = Gpu("cpu")
    assert gpu.others() == [] and gpu.used() is None and gpu.joules() is None


def test_the_ceiling_is_that_of_some_machine() -> None:
    assert 1e9 < matmul_flops("cpu", torch.float32) < 1e14
