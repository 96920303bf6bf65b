"""Cells that can share one frozen backbone and one forward pass."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Collection, Sequence

from harness.core.cell import Cell
from harness.core.method import Method
from harness.core.protocol import SHARED_GROUPS
from harness.planning.planned_cell import PlannedCell

MAX_PACK_SIZE = {"cpu": 16, "cuda": 32}
"""Largest number of replicas per pack: larger packs save little more time (docs/lab-log.md) and memory grows with K."""


@dataclasses.dataclass(frozen=True)
class Pack:
    """Planned cells that share one frozen backbone and one forward pass, in slot order."""

    members: tuple[PlannedCell, ...]

    @property
    def first(self) -> PlannedCell:
        """The first member, from which everything that members share can be read."""
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
    """Two halves, the first one larger by one if the number is odd; a single slot gives one half."""
    middle = (len(slots) + 1) // 2
    return [half for half in (slots[:middle], slots[middle:]) if half]


def describe_shared(cell: Cell, method: Method) -> str:
    """A text that is equal for cells that may share a pack; a cell whose method has no family trains alone."""
    protocol = cell.protocol
    common = {
        "suite": [cell.suite, cell.suite_version, cell.task, cell.data],
        "model": [cell.model.content, cell.model.name, cell.dtype, cell.quantize, cell.recompute],
        "protocol": protocol.select(*SHARED_GROUPS),
        # replicas with different length seeds would mix short and long rows, and pad more than without buckets
        "length groups": cell.seeds["length"] if protocol.group_by_length else None,
        "family": method.pack_key() or cell.key,
    }
    return json.dumps(common, sort_keys=True)


def describe_all_shared(cells: Sequence[PlannedCell]) -> dict[str, str]:
    """`describe_shared` by cell key; computed once for cells that differ only in their seeds."""
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

    `most` is a number, or a function that returns it for a set of cells that could share a pack.
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


def group_remaining(
    cells: Sequence[PlannedCell],
    waiting: Collection[str],
    most: SizeLimit,
    balance: Callable[[Sequence[Pack]], list[Pack]] | None = None,
) -> list[Pack]:
    """Packs of the cells whose keys are in `waiting`, in the order of `cells`, or in that of `balance`.

    A pack of the whole grid stays unchanged if none of its cells is done, so a resumed run gives the same bits as an
    uninterrupted one. The remaining cells of other packs are regrouped. `balance` orders and splits packs for several
    workers.
    """
    keys = set(waiting)
    common = describe_all_shared(cells)
    open_groups = {common[key] for key in keys}
    if balance is not None:
        # which packs are split depends on all packs, also on those that are done
        packs = balance(group_cells(cells, most))
    else:
        packs = group_cells([c for c in cells if common[c.key] in open_groups], most)
    whole = [pack for pack in packs if keys.issuperset(pack.keys)]
    remainder = keys - {key for pack in whole for key in pack.keys}
    regrouped = group_cells([c for c in cells if c.key in remainder], most)
    if balance is not None:
        return [*whole, *regrouped]
    place = {planned.key: i for i, planned in enumerate(cells)}
    return sorted([*whole, *regrouped], key=lambda pack: place[pack.first.key])
