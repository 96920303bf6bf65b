"""Cells that can share one frozen backbone and one forward pass."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence

from harness.core.cell import Cell
from harness.core.method import Method

MOST = {"cpu": 16, "cuda": 32}
"""Replicas of a pack at most, where no timed steps say how many (harness/profiling/pack_size.py)."""


@dataclasses.dataclass(frozen=True)
class Pack:
    """Cells in slot order, with their methods."""

    cells: tuple[Cell, ...]
    methods: tuple[Method, ...]

    def part(self, slots: Sequence[int]) -> Pack:
        return Pack(tuple(self.cells[s] for s in slots), tuple(self.methods[s] for s in slots))

    def split(self) -> tuple[Pack, ...]:
        """Two halves, for when the whole does not fit."""
        return tuple(self.part(half) for half in halves(range(len(self.cells))))

    def alone(self) -> tuple[Pack, ...]:
        return tuple(Pack((c,), (m,)) for c, m in zip(self.cells, self.methods, strict=True))


def halves(slots: Sequence[int]) -> list[Sequence[int]]:
    """Two parts, the first the larger; one slot alone stays one part."""
    middle = (len(slots) + 1) // 2
    return [half for half in (slots[:middle], slots[middle:]) if half]


def shared(cell: Cell, method: Method) -> str:
    """What cells of a pack must have in common; a method without a family shares with nobody."""
    protocol = cell.protocol
    common = {
        "suite": [cell.suite, cell.suite_version, cell.task, cell.data],
        "model": [cell.model.content, cell.model.name, cell.dtype, cell.quantize, cell.recompute],
        "rows": [protocol.batch_size, protocol.max_length, protocol.train_rows, protocol.eval_rows],
        # replicas with other length seeds would read short rows beside long ones, and pad more than ungrouped rows
        "length groups": cell.seeds["length"] if protocol.group_by_length else None,
        "text": [protocol.label_smoothing, protocol.max_target_length, protocol.beams, protocol.shots],
        "instruction": [protocol.template, protocol.packed],
        "attention_dropout": protocol.attention_dropout,
        "family": method.packs_with() or cell.key,
    }
    return json.dumps(common, sort_keys=True)


def shared_by_cell(cells: Sequence[Cell], methods: Mapping[str, Method]) -> dict[str, str]:
    """`shared` by cell key; made once for cells that differ in their seeds only."""
    texts: dict[tuple[object, ...], str] = {}
    by_key = {}
    for cell in cells:
        method = methods[cell.key]
        own = None if method.packs_with() else cell.key
        # cells of one method and task have these objects in common
        objects = id(method), id(cell.protocol), id(cell.model)
        alike = (cell.suite, cell.task, cell.data, cell.dtype, cell.quantize, cell.recompute, objects, own)
        if alike not in texts:
            texts[alike] = shared(cell, method)
        by_key[cell.key] = texts[alike]
    return by_key


Most = int | Callable[[Sequence[Cell]], int]


def group(cells: Sequence[Cell], methods: Mapping[str, Method], most: Most) -> list[Pack]:
    """Packs of at most `most` cells, of even size, in the order of the cells.

    `most` is a number, or is asked for each set of cells that could share a pack.
    """
    groups: dict[str, list[Cell]] = {}
    texts = shared_by_cell(cells, methods)
    for cell in cells:
        groups.setdefault(texts[cell.key], []).append(cell)
    packs = []
    for members in groups.values():
        limit = most if isinstance(most, int) else most(members)
        count = math.ceil(len(members) / limit)
        bounds = [round(i * len(members) / count) for i in range(count + 1)]
        for a, b in itertools.pairwise(bounds):
            packs.append(Pack(tuple(members[a:b]), tuple(methods[c.key] for c in members[a:b])))
    return packs


def remaining(cells: Sequence[Cell], waiting: Collection[str], methods: Mapping[str, Method], most: Most) -> list[Pack]:
    """Packs of the cells whose keys wait, in order.

    A pack of the whole grid of which no cell is done stays what it is, so a resumed run gives what an undisturbed one
    would have; what is left of others is grouped anew.
    """
    keys = set(waiting)
    common = shared_by_cell(cells, methods)
    open_ = {common[key] for key in keys}
    packs = group([c for c in cells if common[c.key] in open_], methods, most)
    whole = [p for p in packs if all(c.key in keys for c in p.cells)]
    rest = keys - {c.key for p in whole for c in p.cells}
    anew = group([c for c in cells if c.key in rest], methods, most)
    place = {c.key: i for i, c in enumerate(cells)}
    return sorted([*whole, *anew], key=lambda p: place[p.cells[0].key])
