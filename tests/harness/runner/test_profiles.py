"""Which profiles a plan needs, and a process that dies."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from harness.core.gpu import Gpu
from harness.core.listener import PlainListener
from harness.core.method import METHODS
from harness.core.process import count_cpus
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.planning.plan import make_plan
from harness.profiling import clocks, measure, request
from harness.replicas import cuda_graph as capture
from harness.runner import profiles as profile
from harness.training import trainer as train
from harness.training.pack_setup import attach_methods
from tests.reports.records import cell


def test_key_follows_what_memory_and_speed_depend_on() -> None:
    base = profile.build_profile_key(cell(), 128, "cpu", None)
    assert profile.build_profile_key(cell("rte", seed=3, protocol={"lr": 0.5}), 128, "cpu", None) == base
    others = [cell(method="lorasp"), cell(options={"rank": 4}), cell(dtype="bf16"), cell(protocol={"batch_size": 4})]
    keys = {profile.build_profile_key(c, 128, "cpu", None) for c in others} | {
        profile.build_profile_key(cell(), 64, "cpu", None)
    }
    keys.add(profile.build_profile_key(cell(recompute="full"), 128, "cpu", None))
    assert len(keys) == 6 and base not in keys


def test_one_question_a_method_and_shape() -> None:
    spec = make_spec({"tasks": ("rte", "cola"), "seeds": "3", "methods": "lora,lorasp,head"})
    found = profile.build_requests(make_plan(spec), spec, "cpu")
    assert [q.cell.label for q in found.values()] == ["lora", "lorasp", "head"]


def die(question: Any, variables: Any, plugins: Any, digests: Any) -> None:
    os._exit(9)


def test_a_process_that_is_killed_leaves_the_column_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "_take_profile", die)
    spec = make_spec({"tasks": ("rte",), "seeds": "1", "methods": "lora", "out": tmp_path})
    store, stream = Store(tmp_path), io.StringIO()
    store.prepare()
    assert profile.profile_missing(make_plan(spec), spec, store, PlainListener(stream, 0)) == []
    assert "profile of lora: its process was killed" in stream.getvalue() and store.profiles() == {}


def test_an_error_becomes_the_profiles_status(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec({"tasks": ("rte",), "seeds": "1", "methods": "lora"})
    (question,) = profile.build_requests(make_plan(spec), spec, "cpu").values()

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate")

    monkeypatch.setattr(request, "load_backbone", broken)
    found = measure.measure(question)
    assert found.status == "oom" and found.samples_per_second is None and found.step_seconds == []


def test_peak_counts_what_is_allocated_after_the_start() -> None:
    import numpy as np

    peak = clocks.RssPeak()
    block = np.ones(8 * 2**20)
    del block
    assert 60 * 2**20 < peak.measure_above(peak.start) < 256 * 2**20


def test_without_the_kernels_mark_the_memory_is_sampled_as_long_as_anybody_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import numpy as np

    monkeypatch.setattr(clocks.RssPeak, "_reset", staticmethod(lambda: False))
    before = set(threading.enumerate())
    peak, unasked = clocks.RssPeak(), clocks.RssPeak()
    (one, other) = set(threading.enumerate()) - before
    block = np.ones(8 * 2**20)
    time.sleep(0.1)
    del block, unasked
    assert 60 * 2**20 < peak.measure_above(peak.start) < 256 * 2**20
    for thread in (one, other):
        thread.join(timeout=60)
        assert not thread.is_alive()


def test_the_peak_of_a_short_profile_is_that_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of the verb: what a method takes for a while to attach is in neither."""
    import numpy as np

    def greedy(*given: Any) -> Any:
        block = np.ones(64 * 2**20)
        del block
        return attach_methods(*given)

    monkeypatch.setattr(request, "attach_methods", greedy)
    spec = make_spec({"tasks": ("rte",), "seeds": "1", "methods": "lora", "batch_size": 2})
    (question,) = profile.build_requests(make_plan(spec), spec, "cpu").values()
    found = measure.measure(question)
    assert found.status == "ok" and found.peak_bytes is not None and found.peak_bytes < 256 * 2**20


@pytest.mark.parametrize("name", METHODS.names())
def test_each_method_can_be_measured(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "WARMUP_STEPS", 1)
    monkeypatch.setattr(measure, "TIMED_STEPS", 2)
    spec = make_spec({"tasks": ("rte",), "seeds": "1", "methods": name, "batch_size": 4, "threads": 1})
    plan = make_plan(spec)
    (question,) = profile.build_requests(plan, spec, "cpu").values()
    found = measure.measure(question)
    assert found.status == "ok", found.reason
    assert found.samples_per_second and found.peak_bytes is not None and len(found.step_seconds) == 2


def test_a_schedule_over_the_whole_run_is_one_over_the_timed_steps() -> None:
    """Else AdaLoRA has done with allocating ranks, and masks are drawn anew no more, before the clock runs."""
    spec = make_spec({"tasks": ("rte",), "seeds": "1", "methods": "adalora,lorasp:resample=3", "batch_size": 4})
    plan = make_plan(spec)
    adalora, lorasp = profile.build_requests(plan, spec, "cpu").values()
    trainer = request.build_trainer(adalora, request.load_alone(adalora), 60)
    assert trainer.attached.tuner.peft_config["default"].total_step == 60 == trainer.totals[0]
    resampled = request.build_trainer(lorasp, request.load_alone(lorasp), 60)
    assert resampled.attached.extra_state[0].steps == [60]  # type: ignore[attr-defined]


def test_steps_are_timed_in_the_stream_that_a_run_trains_in_and_a_refused_graph_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entered: list[bool] = []
    inner = measure.time_steps

    class Refused(capture.EagerRunner):
        fallback = "RuntimeError: no"
        inside = False

        @contextlib.contextmanager
        def stream(self) -> Iterator[None]:
            self.inside = True
            yield
            self.inside = False

    def timed(trainer: Any, steps: range, device: str) -> list[float]:
        entered.append(trainer.runner.inside)
        return inner(trainer, steps, device)

    monkeypatch.setattr(train, "make_runner", lambda compute, device: Refused(compute))
    monkeypatch.setattr(measure, "time_steps", timed)
    monkeypatch.setattr(measure, "TIMED_STEPS", 2)
    spec = make_spec({"tasks": ("rte",), "seeds": "1", "methods": "lora", "batch_size": 4, "threads": 1})
    (question,) = profile.build_requests(make_plan(spec), spec, "cpu").values()
    found = measure.measure(question)
    assert (found.status, found.reason) == ("ok", "steps run without a CUDA graph: RuntimeError: no")
    assert entered == [True] and len(found.step_seconds) == 2


def test_the_short_profile_of_a_shared_gpu_has_no_throughput_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gpu, "list_other_processes", lambda self: [17])
    monkeypatch.setattr(measure, "TIMED_STEPS", 2)
    spec = make_spec({"tasks": ("rte",), "seeds": "1", "methods": "lora", "batch_size": 4, "threads": 1})
    (question,) = profile.build_requests(make_plan(spec), spec, "cpu").values()
    found = measure.measure(question)
    assert (found.status, found.shared_with) == ("ok", [17]) and found.peak_bytes is not None
    assert found.samples_per_second is None and found.step_seconds == []
    assert found.reason == "no throughput: processes 17 share the GPU"


def test_a_profile_is_of_one_gpu_and_one_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    named = []
    for name in ("NVIDIA H100", "NVIDIA H200"):
        monkeypatch.setattr(profile, "get_gpu_name", lambda device, name=name: name)
        named.append(profile.build_profile_key(cell(), 128, "cuda", 2))
    assert named[0] != named[1]
    monkeypatch.undo()
    cores = count_cpus()
    assert profile.build_profile_key(cell(), 128, "cpu", None) == profile.build_profile_key(cell(), 128, "cpu", cores)


def test_a_gpu_that_nobody_watches_is_told() -> None:
    trainer = SimpleNamespace(runner=SimpleNamespace(fallback=None), device=torch.device("cuda"))
    gpu = Gpu("cpu")
    assert clocks.describe_caveats(trainer, gpu) == clocks.NO_NVML
    trainer.runner.fallback = "RuntimeError: no"
    both = clocks.describe_caveats(trainer, gpu)
    assert both == f"steps run without a CUDA graph: RuntimeError: no; {clocks.NO_NVML}"
    gpu._handle = object()
    trainer.runner.fallback = None
    assert clocks.describe_caveats(trainer, gpu) is None
