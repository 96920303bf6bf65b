"""Cells that can share one frozen backbone and one forward pass."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence

from harness.core.cell import Cell
from harness.core.method import Method

MAX_PACK_SIZE = {"cpu": 16, "cuda": 32}
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
        return tuple(self.part(half) for half in split_in_halves(range(len(self.cells))))

    def alone(self) -> tuple[Pack, ...]:
        return tuple(Pack((c,), (m,)) for c, m in zip(self.cells, self.methods, strict=True))


def split_in_halves(slots: Sequence[int]) -> list[Sequence[int]]:
    """Two parts, the first the larger; one slot alone stays one part."""
    middle = (len(slots) + 1) // 2
    return [half for half in (slots[:middle], slots[middle:]) if half]


def build_pack_key(cell: Cell, method: Method) -> str:
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
        "family": method.pack_key() or cell.key,
    }
    return json.dumps(common, sort_keys=True)


def build_pack_keys(cells: Sequence[Cell], methods: Mapping[str, Method]) -> dict[str, str]:
    """`shared` by cell key; made once for cells that differ in their seeds only."""
    pack_keys: dict[tuple[object, ...], str] = {}
    keys_by_cell = {}
    for cell in cells:
        method = methods[cell.key]
        solo_key = None if method.pack_key() else cell.key
        # cells of one method and task have these objects in common
        objects = id(method), id(cell.protocol), id(cell.model)
        signature = (cell.suite, cell.task, cell.data, cell.dtype, cell.quantize, cell.recompute, objects, solo_key)
        if signature not in pack_keys:
            pack_keys[signature] = build_pack_key(cell, method)
        keys_by_cell[cell.key] = pack_keys[signature]
    return keys_by_cell


SizeLimit = int | Callable[[Sequence[Cell]], int]


def group_cells(cells: Sequence[Cell], methods: Mapping[str, Method], most: SizeLimit) -> list[Pack]:
    """Packs of at most `most` cells, of even size, in the order of the cells.

    `most` is a number, or is asked for each set of cells that could share a pack.
    """
    groups: dict[str, list[Cell]] = {}
    pack_keys = build_pack_keys(cells, methods)
    for cell in cells:
        groups.setdefault(pack_keys[cell.key], []).append(cell)
    packs = []
    for members in groups.values():
        limit = most if isinstance(most, int) else most(members)
        count = math.ceil(len(members) / limit)
        bounds = [round(i * len(members) / count) for i in range(count + 1)]
        for a, b in itertools.pairwise(bounds):
            packs.append(Pack(tuple(members[a:b]), tuple(methods[c.key] for c in members[a:b])))
    return packs


def group_remaining(
    cells: Sequence[Cell], waiting: Collection[str], methods: Mapping[str, Method], most: SizeLimit
) -> list[Pack]:
    """Packs of the cells whose keys wait, in order.

    A pack of the whole grid of which no cell is done stays what it is, so a resumed run gives what an undisturbed one
    would have; what is left of others is grouped anew.
    """
    keys = set(waiting)
    pack_keys = build_pack_keys(cells, methods)
    open_keys = {pack_keys[key] for key in keys}
    packs = group_cells([c for c in cells if pack_keys[c.key] in open_keys], methods, most)
    whole_packs = [p for p in packs if all(c.key in keys for c in p.cells)]
    other_keys = keys - {c.key for p in whole_packs for c in p.cells}
    new_packs = group_cells([c for c in cells if c.key in other_keys], methods, most)
    positions = {c.key: i for i, c in enumerate(cells)}
    return sorted([*whole_packs, *new_packs], key=lambda p: positions[p.cells[0].key])
