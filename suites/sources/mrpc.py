"""MRPC's splits from the original release, msr_paraphrase_train.txt, as GLUE makes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.resources.abc import Traversable

from harness.core.errors import UserError
from suites.sources.content import find_file
from suites.sources.layouts import Recovered
from suites.sources.tables import Table, open_table

IDS = ("#1 ID", "#2 ID")
Pair = tuple[str, ...]
HASHED = (
    "derived: mrpc: neither dev_ids.tsv nor dev.tsv is there, so validation is the tenth of msr_paraphrase_train.txt "
    "whose id pairs have the smallest sha256: not the official dev split"
)


def from_release(folder: Traversable, wanted: Sequence[str]) -> Recovered:
    """Train and validation from msr_paraphrase_train.txt; held out are the pairs of dev_ids.tsv (the official way),
    else of dev.tsv, else a tenth by hash, which a note tells. Nothing if the release is not there.
    """
    source = find_file(folder, "msr_paraphrase_train.txt")
    if source is None:
        return Recovered({})
    table = open_table(source)
    rows = list(table.rows)
    if not rows:
        raise UserError(f"{source}: empty file, expected columns Quality, {', '.join(IDS)}, #1 String, #2 String")
    pairs = [_ids(rows[0][1], cells) for _, cells in rows[1:]]
    listed = _listed(folder)
    held = set(_tenth(pairs)) if listed is None else listed
    notes = (HASHED,) if listed is None else ()
    parts = {
        split: Table(
            table.name,
            iter([rows[0], *(row for row, pair in zip(rows[1:], pairs, strict=True) if (pair in held) == dev)]),
        )
        for split, dev in (("train", False), ("validation", True))
        if split in wanted
    }
    return Recovered(parts, notes)


def _ids(header: Sequence[str], cells: Sequence[str]) -> Pair:
    """The id pair of a row; a row too short for it, or a file without ids, is found out by the row check."""
    return tuple(cells[header.index(name)] for name in IDS if name in header and header.index(name) < len(cells))


def _listed(folder: Traversable) -> set[Pair] | None:
    """The pairs GLUE holds out, if a file names them."""
    if (listed := find_file(folder, "dev_ids.tsv")) is not None:
        pairs = {tuple(cells) for _, cells in open_table(listed).rows}
        if not pairs:
            raise UserError(f"{listed}: empty file, expected the id pairs of the dev rows; give the whole file")
        return pairs
    if (official := find_file(folder, "dev.tsv")) is not None:
        header, *rows = [cells for _, cells in open_table(official).rows] or [[]]
        if not rows:
            raise UserError(f"{official}: no rows, expected the dev rows under {', '.join(IDS)}; give the whole file")
        return {_ids(header, cells) for cells in rows}
    return None


def _tenth(pairs: Sequence[Pair]) -> list[Pair]:
    ranked = sorted(pairs, key=lambda pair: hashlib.sha256("\t".join(pair).encode()).digest())
    return ranked[: max(1, round(len(ranked) / 10))]
