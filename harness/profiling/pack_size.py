"""How many replicas the packs of a run hold: as stored in its folder, at the knee of timed steps, or by memory."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.core.cell import Cell
from harness.core.provenance import get_utc_time
from harness.core.record import Chosen, Environment, PackSize, Timings
from harness.planning.packs import build_pack_keys
from harness.planning.schedule import count_steps
from harness.profiling.capacity import Capacity
from harness.profiling.cost import interpolate_seconds, least_seconds
from harness.profiling.knee import Timed, knee, worth_timing

if TYPE_CHECKING:
    from harness.core.method import Example
    from harness.planning.plan import Plan

Time = Callable[[Sequence[Cell], int, int], tuple[Timed, int]]
"""(cells that wait, K at most, replica-steps that wait) -> times by K, and tokens per row of the timed batches."""
SAMPLE = 512
"""Training rows whose words say how long a task's rows are."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """Waiting cells whose packs cost alike, whatever their task's name; `most` in one task, `words` in its rows."""

    key: str
    cells: tuple[Cell, ...]
    most: int
    words: int


class PackSizes:
    """The choice for each kind of pack, made once.

    `stored` are the choices of the run's folder, which stand; `known` those of other runs, whose timings do. `time` is
    asked where neither has any and enough cells wait (None: never); `keep` gets each new choice.
    """

    def __init__(
        self,
        capacity: Capacity,
        waiting: Sequence[Cell],
        machine: Environment,
        *,
        stored: Mapping[str, PackSize],
        known: Mapping[str, PackSize],
        time: Time | None = None,
        keep: Callable[[PackSize], None] = lambda size: None,
    ) -> None:
        self.capacity, self.plan, self.machine = capacity, capacity.plan, machine
        self.known, self.time, self.keep = known, time, keep
        self.made = dict(stored)
        self.worth: dict[str, bool] = {}
        self.kinds = _kinds(self.plan, waiting, machine)

    def most(self, cells: Sequence[Cell]) -> int:
        """Replicas of a pack of these cells, which could all share one."""
        size = self.of(cells[0])
        return 1 if size is None else size.k

    def of(self, cell: Cell) -> PackSize | None:
        """The choice for a cell's packs; None for one that shares with no other."""
        kind = self.kinds[cell.key]
        if self.plan.methods[cell.key].pack_key() is None:
            return None
        if kind.key not in self.made:
            self.made[kind.key] = self._choose(kind)
            self.keep(self.made[kind.key])
        return self.made[kind.key]

    def told(self, cell: Cell) -> dict[str, Any]:
        """What a record says of it."""
        size = self.of(cell)
        return {} if size is None else {"chosen": size.chosen, "timings": size.timings}

    def would_time(self, cell: Cell) -> bool:
        """Whether a run would time packs of this cell's kind before the first."""
        kind = self.kinds[cell.key]
        known = self.made.get(kind.key) or self.known.get(kind.key)
        return (known is None or not known.timings) and self._worth(kind)

    def seconds(self, cell: Cell, k: int) -> float | None:
        """Seconds of a step of k replicas, where its kind was timed."""
        size = self.of(cell)
        return interpolate_seconds(size.timings, k) if size and size.timings else None

    def _choose(self, kind: Kind) -> PackSize:
        known, worth = self.known.get(kind.key), self.time is not None and self._worth(kind)
        most = self.capacity.most(kind.cells, kind.most) if worth or (known and known.timings) else 1
        told: dict[str, Any] = {}
        if known and reaches(known.timings, most):
            told = known.model_dump(include={"timings", "length", "seconds", "measured", "task"})
            return self._size(kind, min(most, knee(dict(known.timings))), "knee", **told)
        if self.time is not None and worth and most > 1:
            made, length = self.time(kind.cells, most, self._replica_steps(kind))
            told = {"timings": sorted(made.steps.items()), "length": length, "seconds": made.seconds}
            if made.settled:
                return self._size(kind, knee(made.steps), "knee", **told)
        return self._size(kind, self.capacity.most(kind.cells), "memory", **told)

    def _worth(self, kind: Kind) -> bool:
        """Whether timing packs of a kind pays; asked for each pack, and decided once, as it looks at all cells."""
        if kind.key not in self.worth:
            self.worth[kind.key] = self._pays(kind)
        return self.worth[kind.key]

    def _pays(self, kind: Kind) -> bool:
        step = self.capacity.step(kind.cells[0])
        layers, hidden, _, _ = self.capacity.dimensions(step) or (0, 0, 0, 0)
        tokens = kind.cells[0].protocol.batch_size * kind.words
        least = least_seconds(12 * layers * hidden**2, tokens, self.capacity.device)
        return worth_timing(len(kind.cells), least * self._replica_steps(kind))

    def _replica_steps(self, kind: Kind) -> int:
        return sum(count_steps(c.protocol, train_rows(self.plan, c)) for c in kind.cells)

    def _size(self, kind: Kind, k: int, chosen: Chosen, **fields: Any) -> PackSize:
        labels = sorted({c.label for c in kind.cells})
        told: dict[str, Any] = {
            "task": kind.cells[0].task,
            "environment": self.machine,
            "measured": get_utc_time(),
        } | fields
        return PackSize(key=kind.key, k=k, chosen=chosen, methods=labels, **told)


def reaches(timings: Timings, most: int) -> bool:
    """Whether timed sizes say where the knee is among sizes up to `most`."""
    if not timings:
        return False
    largest = max(k for k, _ in timings)
    return largest >= most or knee(dict(timings)) < largest


def words(rows: Sequence[Example], most: int) -> int:
    """Words that nine in ten rows have at most, rounded to a power of two: how long rows are, untokenised."""
    counts = sorted(sum(len(text.split()) for text in row.texts) for row in rows[:SAMPLE])
    long = counts[len(counts) * 9 // 10] if counts else 1
    return int(2 ** round(math.log2(max(1, min(long, most)))))


def train_rows(plan: Plan, cell: Cell) -> int:
    rows = len(plan.data[cell.suite, cell.task].splits["train"])
    return rows if cell.protocol.train_rows is None else min(rows, cell.protocol.train_rows)


def _kinds(plan: Plan, waiting: Sequence[Cell], machine: Environment) -> dict[str, Kind]:
    """The kind of each cell of the plan, by cell key. Its name hangs on the plan alone, not on what is done of it."""
    long: dict[tuple[str, str, int], int] = {}
    for cell in plan.cells:
        place = cell.suite, cell.task, cell.protocol.max_length
        if place not in long:
            long[place] = words(plan.data[cell.suite, cell.task].splits["train"], cell.protocol.max_length)
    texts = build_pack_keys(plan.cells, plan.methods)
    by_text: dict[str, tuple[str, int]] = {}
    for cell in plan.cells:
        if texts[cell.key] not in by_text:
            length = long[cell.suite, cell.task, cell.protocol.max_length]
            by_text[texts[cell.key]] = _loose(plan, cell, texts[cell.key], length)
    loose = {c.key: by_text[texts[c.key]] for c in plan.cells}
    labels: dict[tuple[str, int], set[str]] = {}
    for cell in plan.cells:
        labels.setdefault(loose[cell.key], set()).add(cell.label)
    own: dict[tuple[str, int], list[Cell]] = {}
    for cell in waiting:
        own.setdefault(loose[cell.key], []).append(cell)
    made = {name: _kind(name, labels[name], own.get(name, []), machine) for name in labels}
    return {key: made[name] for key, name in loose.items()}


def _kind(name: tuple[str, int], labels: set[str], cells: Sequence[Cell], machine: Environment) -> Kind:
    where = [machine.device, machine.machine, machine.threads, machine.torch]
    content = json.dumps([*name, sorted(labels), where])
    tasks = Counter(cell.task for cell in cells)
    most = max(tasks.values(), default=1)
    return Kind(hashlib.sha256(content.encode()).hexdigest()[:16], tuple(cells), most, name[1])


def _loose(plan: Plan, cell: Cell, text: str, long: int) -> tuple[str, int]:
    """What cells of a pack share, less the task's name and rows: of these its kind and how long rows are."""
    content = json.loads(text)
    task = plan.suites[cell.suite].tasks[cell.task]
    content["suite"] = [cell.suite, task.kind, task.outputs]
    del content["rows"][2:]
    return json.dumps(content, sort_keys=True), long
