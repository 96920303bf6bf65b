"""What bounds the packs of a run: asked, memory, or the knee; and that it stays with the run's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.core.cell import Cell
from harness.core.method import Example
from harness.core.provenance import describe_environment
from harness.core.record import PackSize
from harness.core.spec import make_spec
from harness.core.store import Store
from harness.planning.packs import MAX_PACK_SIZE, group_cells
from harness.planning.plan import Plan, make_plan
from harness.profiling import pack_size
from harness.profiling.capacity import Capacity
from harness.profiling.cost import load_pack_sizes
from harness.profiling.knee import Timed
from harness.profiling.pack_size import PackSizes, reaches, words
from harness.runner.execute import Executor
from harness.runner.forecast import forecast_run
from tests.harness.runner.test_run import go

KNEE_AT_FOUR = Timed({1: 1.0, 2: 1.2, 4: 1.6, 8: 3.2}, True, 0.5)


def plan(**flags: object) -> Plan:
    return make_plan(make_spec({"tasks": ("rte",), "seeds": "5", "methods": "lora,lorasp"} | flags))


def sizes(made: Plan, cells: Sequence[Cell] | None = None, **options: Any) -> PackSizes:
    empty: dict[str, Any] = {"stored": {}, "known": {}}
    capacity = Capacity(made, "cpu", 2**40)
    return PackSizes(capacity, cells or made.cells, describe_environment("cpu", 1), **(empty | options))


class Timer:
    """Gives one answer and notes what was asked."""

    def __init__(self, answer: Timed) -> None:
        self.answer, self.asked = answer, list[tuple[int, int, int]]()

    def __call__(self, cells: Sequence[Cell], most: int, replica_steps: int) -> tuple[Timed, int]:
        self.asked.append((len(cells), most, replica_steps))
        return self.answer, 17


def always_worth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_size, "worth_timing", lambda cells, seconds: True)


def test_the_default_job_times_nothing() -> None:
    made, timer = make_plan(make_spec({})), Timer(KNEE_AT_FOUR)
    chosen = sizes(made, time=timer)
    assert [len(p.cells) for p in group_cells(made.cells, made.methods, chosen.most)] == [10] * 9
    assert timer.asked == [] and {s.chosen for s in chosen.made.values()} == {"memory"}


def test_a_long_grid_is_timed_and_gets_its_knee() -> None:
    made, timer, kept = plan(seeds="20", max_steps=5000, epochs=1000.0), Timer(KNEE_AT_FOUR), list[PackSize]()
    chosen = sizes(made, time=timer, keep=kept.append)
    assert {len(p.cells) for p in group_cells(made.cells, made.methods, chosen.most)} == {4}
    assert timer.asked == [(40, 40, 40 * 5000)]
    (size,) = kept
    assert (size.k, size.chosen, size.length, size.methods) == (4, "knee", 17, ["lora", "lorasp"])
    assert chosen.told(made.cells[0]) == {"chosen": "knee", "timings": [(1, 1.0), (2, 1.2), (4, 1.6), (8, 3.2)]}


def test_an_unsettled_timing_leaves_it_to_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    always_worth(monkeypatch)
    made = plan()
    chosen = sizes(made, time=Timer(Timed({1: 1.0, 2: 1.0}, False, 0.5)))
    assert chosen.most(made.cells) == MAX_PACK_SIZE["cpu"]
    assert chosen.told(made.cells[0]) == {"chosen": "memory", "timings": [(1, 1.0), (2, 1.0)]}


def test_tasks_of_one_kind_are_timed_once_and_memory_bounds_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    always_worth(monkeypatch)
    made, timer = plan(tasks=("mrpc", "rte", "stsb"), methods="lora"), Timer(KNEE_AT_FOUR)
    chosen = sizes(made, time=timer)
    monkeypatch.setattr(chosen.capacity, "most", lambda cells, limit=None: min(limit or 16, 3))
    kinds = {chosen.kinds[c.key].key for c in made.cells}
    group_cells(made.cells, made.methods, chosen.most)
    assert len(timer.asked) == len(kinds) and {most for _, most, _ in timer.asked} == {3}
    regression = [chosen.kinds[c.key].key for c in made.cells if c.task == "stsb"]
    assert not set(regression) & {chosen.kinds[c.key].key for c in made.cells if c.task != "stsb"}


def test_what_shares_with_none_has_no_size() -> None:
    made = plan(methods="full")
    chosen = sizes(made)
    assert chosen.most(made.cells[:1]) == 1 and chosen.told(made.cells[0]) == {} and chosen.made == {}


def test_the_kind_hangs_on_the_plan_not_on_what_is_done() -> None:
    made = plan()
    whole, rest = sizes(made), sizes(made, made.cells[7:])
    assert whole.kinds[made.cells[9].key].key == rest.kinds[made.cells[9].key].key
    assert len(rest.kinds[made.cells[9].key].cells) == 3


def test_other_batches_methods_and_machines_are_other_kinds() -> None:
    def key(threads: int = 1, **flags: object) -> str:
        made = plan(**flags)
        capacity = Capacity(made, "cpu", 2**40)
        chosen = PackSizes(capacity, made.cells, describe_environment("cpu", threads), stored={}, known={})
        return chosen.kinds[made.cells[0].key].key

    others = [key(batch_size=4), key(methods="lora"), key(threads=2), key(dtype="bf16"), key(recompute="full")]
    assert len({key(), *others}) == 6
    assert key(lr=0.5) == key(max_steps=7) == key(seeds="2") == key()


def test_times_of_another_run_need_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    always_worth(monkeypatch)
    made, kept = plan(), list[PackSize]()
    sizes(made, time=Timer(KNEE_AT_FOUR), keep=kept.append).most(made.cells)
    known = {size.key: size for size in kept}
    again, timer = list[PackSize](), Timer(KNEE_AT_FOUR)
    chosen = sizes(made, known=known, time=timer, keep=again.append)
    assert chosen.most(made.cells) == 4 and timer.asked == [] and again[0].timings == kept[0].timings
    assert chosen.seconds(made.cells[0], 3) == pytest.approx(1.4) and chosen.seconds(made.cells[0], 16) == 6.4


def test_times_that_end_before_the_knee_are_not_enough() -> None:
    falling = [(1, 1.0), (2, 1.0), (4, 1.0)]
    assert reaches(falling, 4) and reaches(falling, 3) and not reaches(falling, 8) and not reaches([], 1)
    assert reaches([(1, 1.0), (2, 1.0), (4, 2.0)], 64)


def test_how_long_rows_are_is_a_power_of_two() -> None:
    rows = [Example(str(n), ("a " * n, "b"), 0) for n in range(1, 11)]
    assert words(rows, 128) == 8 and words(rows, 4) == 4 and words([], 4) == 1  # 11 words in the tenth


def timed(self: Any, cells: Sequence[Cell], most: int, replica_steps: int) -> tuple[Timed, int]:
    return Timed({1: 1.0, 2: 1.0, 4: 4.0}, True, 0.1), 9


def test_a_resumed_run_goes_by_the_stored_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    always_worth(monkeypatch)
    monkeypatch.setattr(Executor, "time", timed)
    first = go(tmp_path)[0].records
    packs = {r.key: (r.pack.keys, r.pack.chosen, r.pack.timings) for r in first if r.pack}
    assert {(len(keys), how) for keys, how, _ in packs.values()} == {(2, "knee")}
    assert packs[first[0].key][2] == [(1, 1.0), (2, 1.0), (4, 4.0)]
    for record in first[2:]:
        (tmp_path / "cells" / f"{record.key}.json").unlink()
    monkeypatch.setattr(Executor, "time", lambda *_: pytest.fail("timed again"))
    second = go(tmp_path)[0].records
    assert {r.key: (r.pack.keys, r.pack.chosen, r.pack.timings) for r in second if r.pack} == packs
    assert [r.scores for r in second] == [r.scores for r in first]


def test_an_asked_size_wins_and_is_told(tmp_path: Path) -> None:
    records = go(tmp_path, pack=3)[0].records
    assert {(r.pack.size, r.pack.chosen) for r in records if r.pack} == {(2, "asked")}
    assert load_pack_sizes([tmp_path]) == {}


def test_plan_goes_by_stored_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    always_worth(monkeypatch)
    spec = make_spec({"tasks": ("rte",), "seeds": "5", "methods": "lora", "threads": 1, "device": "cpu"})
    before = forecast_run(spec, None)
    assert before["to_time"] == ["lora"] and {p["chosen"] for p in before["packs"]} == {"memory"}
    kept, grid, timer = list[PackSize](), make_plan(spec), Timer(Timed({1: 1.0, 2: 1.0, 4: 3.9}, True, 0.1))
    sizes(grid, time=timer, keep=kept.append).most(grid.cells)
    store = Store(tmp_path / "results/runs/other")
    store.prepare()
    store.write_pack_size(kept[0])
    made = forecast_run(spec, None)
    assert [(p["k"], p["chosen"]) for p in made["packs"]] == [(2, "knee"), (1, "knee"), (2, "knee")]
    assert made["to_time"] == [] and 450 < made["device_hours"] * 3600 < 500  # three packs of 150 steps, and scoring
    assert "1 kinds of pack timed" in made["calibration"]
