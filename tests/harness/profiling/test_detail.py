"""The detailed profile: phases, repeats, rows of real lengths; and a GPU that others use."""

from __future__ import annotations

import dataclasses
import gc
import time
from collections import Counter
from collections.abc import Iterator

import pytest
import torch

from harness.core.gpu import Gpu
from harness.core.spec_reading import make_spec
from harness.data.sampler import ReplicaSampler
from harness.planning.plan import make_plan
from harness.profiling import detail
from harness.profiling.ceiling import measure_matmul_flops
from harness.profiling.clocks import time_steps
from harness.profiling.measure import measure
from harness.profiling.request import ProfileRequest, build_trainer, load_alone
from harness.runner import profiles as profile


@pytest.fixture
def question(monkeypatch: pytest.MonkeyPatch) -> Iterator[ProfileRequest]:
    monkeypatch.setattr("harness.profiling.detail.TIMED_STEPS", 4)
    spec = make_spec({"tasks": ("rte",), "seeds": "1", "methods": "lora", "threads": 1})
    plan = make_plan(spec)
    (made,) = profile.build_requests(plan, spec, "cpu", 2).values()
    threads = torch.get_num_threads()
    yield made
    torch.set_num_threads(threads)


def test_phases_repeats_and_real_lengths(question: ProfileRequest) -> None:
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


def test_without_rows_batches_are_full(question: ProfileRequest) -> None:
    made = measure(dataclasses.replace(question, rows=()))
    assert made.rows == "full length" and made.padding == 0
    assert [p.phase for p in made.phases] == ["load", "first step", "steady step"]


def test_every_shape_that_is_timed_has_been_run_thrice(
    question: ProfileRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU: as it comes, captured, replayed; so no timed step is of the first two kinds."""
    monkeypatch.setitem(detail.WARM_SECONDS, "cuda", 0.2)
    trainer = build_trainer(question, load_alone(question), 40)
    trainer.split = detail._tokenise_rows(question, question.rows, train=True)
    trainer.order = ReplicaSampler(trainer.order.streams, trainer.split.lengths, question.cell.protocol.batch_size)
    seen: Counter[object] = Counter()
    whole = trainer.runner.step

    def watched(rows: torch.Tensor, shape: object, *, plain: bool) -> torch.Tensor:
        seen[len(rows), shape] += 1
        return whole(rows, shape, plain=plain)

    monkeypatch.setattr(trainer.runner, "step", watched)
    monkeypatch.setattr(detail, "synchronise", lambda device: None)
    chosen = range(5, 35)
    started = time.perf_counter()
    detail._warm_up(trainer, chosen, "cuda")
    assert time.perf_counter() - started > 0.2
    split, order = trainer.split, trainer.order
    timed = {(len(order.at(step)), split.shape(order.select_padding_rows(step))) for step in chosen}
    assert len(timed) > 3 and all(seen[shape] >= 3 for shape in timed)
    assert trainer.optimizer.steps - 1 in chosen


def test_on_a_gpu_a_step_lasts_from_the_end_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock in place of CUDA's events: one more step comes first, and nothing waits until the last."""
    clock, order = [0.0], list[str]()

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = clock[0]
            order.append("end")

        def elapsed_time(self, other: Event) -> float:
            return other.at - self.at

    class Steps:
        def train_step(self, step: int) -> None:
            clock[0] += 10.0 * (step + 1)
            order.append(str(step))

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: order.append("wait"))
    found = time_steps(Steps(), range(3, 6), "cuda")  # type: ignore[arg-type]
    assert found == pytest.approx([0.04, 0.05, 0.06])
    assert order == ["3", "end", "3", "end", "4", "end", "5", "end", "wait"]


def test_energy_is_that_of_warm_steps_over_seconds(question: ProfileRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A meter of 350 W that moves ten times a second, and steps of 2 ms."""
    clock, taken = [100.0], list[int]()

    class Steps:
        def train_step(self, step: int) -> None:
            clock[0] += 0.002
            taken.append(step)

    class Meter(Gpu):
        def read_joules(self) -> float:
            return 350 * round(clock[0], 1)

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    found = detail.measure_energy(Steps(), question, range(5, 65), Meter("cpu"))  # type: ignore[arg-type]
    assert found == pytest.approx(350 * 0.002 / question.cell.protocol.batch_size * 1000, rel=0.06)
    assert len(taken) * 0.002 >= 2 and set(taken) == set(range(5, 65))
    assert detail.measure_energy(Steps(), question, range(5, 65), Gpu("cpu")) is None  # type: ignore[arg-type]


@pytest.mark.slow
def test_no_garbage_is_collected_while_it_measures(question: ProfileRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    on: list[bool] = []
    whole = detail.time_steps
    monkeypatch.setattr(detail, "time_steps", lambda *given: (on.append(gc.isenabled()), whole(*given))[1])
    measure(question)
    assert set(on) == {False} and gc.isenabled()


def test_a_shared_gpu_gets_no_throughput(question: ProfileRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Gpu, "list_other_processes", lambda self: [17])
    monkeypatch.setattr(detail, "describe_caveats", lambda trainer, gpu: "steps run without a CUDA graph: refused")
    made = measure(question)
    assert made.status == "ok" and made.shared_with == [17]
    assert made.reason == "steps run without a CUDA graph: refused; no throughput: processes 17 share the GPU"
    assert made.samples_per_second is None and made.step_seconds == [] and made.tokens_per_second is None
    assert made.shares is not None and made.phases


def test_the_cpu_has_no_nvml() -> None:
    gpu = Gpu("cpu")
    assert gpu.list_other_processes() == [] and gpu.used() is None and gpu.read_joules() is None


def test_the_ceiling_is_that_of_some_machine() -> None:
    assert 1e9 < measure_matmul_flops("cpu", torch.float32) < 1e14


def test_a_peak_is_what_a_phase_held_at_most_not_what_is_left_at_its_end() -> None:
    phases = detail.PhaseMeter("cpu")
    phases.end("load")
    block = torch.ones(2**26)
    del block
    phases.end("first step")
    assert phases.seen[1].rss - phases.seen[0].rss > 2**27
    phases.end("steady step")
    assert phases.seen[1].rss - phases.seen[2].rss > 2**27
