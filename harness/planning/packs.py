"""Cells that can share one frozen backbone and one forward pass."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Collection, Sequence

from harness.core.cell import SHARED_GROUPS, Cell
from harness.core.method import Method
from harness.planning.planned_cell import PlannedCell

MAX_PACK_SIZE = {"cpu": 16, "cuda": 32}
"""Replicas of a pack at most: larger packs save little time more (docs/lab-log.md) and take memory in proportion."""


@dataclasses.dataclass(frozen=True)
class Pack:
    """Planned cells that share one frozen backbone and one forward pass, in slot order."""

    members: tuple[PlannedCell, ...]

    @property
    def first(self) -> PlannedCell:
        """What all members have in common can be read from the first."""
        return self.members[0]

    @property
    def cells(self) -> tuple[Cell, ...]:
        return tuple(member.cell for member in self.members)

    @property
    def methods(self) -> tuple[Method, ...]:
        return tuple(member.method for member in self.members)

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(member.key for member in self.members)

    def select(self, slots: Sequence[int]) -> Pack:
        return Pack(tuple(self.members[slot] for slot in slots))

    def split(self) -> list[Pack]:
        """Two halves, for when the whole does not fit."""
        return [self.select(half) for half in split_slots(range(len(self.members)))]

    def split_into_cells(self) -> list[Pack]:
        return [Pack((member,)) for member in self.members]


def split_slots(slots: Sequence[int]) -> list[Sequence[int]]:
    """Two parts, the first the larger; one slot alone stays one part."""
    middle = (len(slots) + 1) // 2
    return [half for half in (slots[:middle], slots[middle:]) if half]


def describe_shared(cell: Cell, method: Method) -> str:
    """What cells of a pack must have in common; a method without a family shares with nobody."""
    protocol = cell.protocol
    common = {
        "suite": [cell.suite, cell.suite_version, cell.task, cell.data],
        "model": [cell.model.content, cell.model.name, cell.dtype, cell.quantize, cell.recompute],
        "protocol": protocol.select(*SHARED_GROUPS),
        # replicas with other length seeds would read short rows beside long ones, and pad more than ungrouped rows
        "length groups": cell.seeds["length"] if protocol.group_by_length else None,
        "family": method.pack_key() or cell.key,
    }
    return json.dumps(common, sort_keys=True)


def describe_all_shared(cells: Sequence[PlannedCell]) -> dict[str, str]:
    """`describe_shared` by cell key; made once for cells that differ in their seeds only."""
    texts: dict[tuple[object, ...], str] = {}
    by_key = {}
    for planned in cells:
        cell, method = planned.cell, planned.method
        alone = None if method.pack_key() else cell.key
        # cells of one method and task have these objects in common
        objects = id(method), id(cell.protocol), id(cell.model)
        alike = (cell.suite, cell.task, cell.data, cell.dtype, cell.quantize, cell.recompute, objects, alone)
        if alike not in texts:
            texts[alike] = describe_shared(cell, method)
        by_key[cell.key] = texts[alike]
    return by_key


SizeLimit = int | Callable[[Sequence[PlannedCell]], int]


def group_cells(cells: Sequence[PlannedCell], most: SizeLimit) -> list[Pack]:
    """Packs of at most `most` cells, of even size, in the order of the cells.

    `most` is a number, or is asked for each set of cells that could share a pack.
    """
    groups: dict[str, list[PlannedCell]] = {}
    pack_keys = describe_all_shared(cells)
    for planned in cells:
        groups.setdefault(pack_keys[planned.key], []).append(planned)
    packs = []
    for members in groups.values():
        limit = most if isinstance(most, int) else most(members)
        count = math.ceil(len(members) / limit)
        bounds = [round(i * len(members) / count) for i in range(count + 1)]
        packs += [Pack(tuple(members[a:b])) for a, b in itertools.pairwise(bounds)]
    return packs


def group_remaining(cells: Sequence[PlannedCell], waiting: Collection[str], most: SizeLimit) -> list[Pack]:
    """Packs of the cells whose keys wait, in order.

    A pack of the whole grid of which no cell is done stays what it is, so a resumed run gives what an undisturbed one
    would have; what is left of others is grouped anew.
    """
    keys = set(waiting)
    common = describe_all_shared(cells)
    open_groups = {common[key] for key in keys}
    packs = group_cells([c for c in cells if common[c.key] in open_groups], most)
    whole = [pack for pack in packs if all(key in keys for key in pack.keys)]
    remainder = keys - {key for pack in whole for key in pack.keys}
    regrouped = group_cells([c for c in cells if c.key in remainder], most)
    place = {planned.key: i for i, planned in enumerate(cells)}
    return sorted([*whole, *regrouped], key=lambda pack: place[pack.first.key])
