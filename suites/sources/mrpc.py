"""MRPC's splits from its original release, msr_paraphrase_train.txt, in the way of GLUE."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from importlib.resources.abc import Traversable

from harness.core.errors import UserError
from suites.sources.content import find_file
from suites.sources.layouts import RecoveredSplits
from suites.sources.tables import DataTable, open_table

IDS = ("#1 ID", "#2 ID")
IdPair = tuple[str, ...]
HASHED = (
    "derived: mrpc: neither dev_ids.tsv nor dev.tsv is there, so validation is the tenth of msr_paraphrase_train.txt "
    "whose id pairs have the smallest sha256: not the official dev split"
)


def read_release(folder: Traversable, wanted: Sequence[str]) -> RecoveredSplits:
    """Train and validation from msr_paraphrase_train.txt; no splits if the release does not exist.

    Validation is the pairs of dev_ids.tsv (the official way), else those of dev.tsv, else a tenth by hash, with a note.
    """
    source = find_file(folder, "msr_paraphrase_train.txt")
    if source is None:
        return RecoveredSplits({})
    table = open_table(source)
    rows = list(table.rows)
    if not rows:
        raise UserError(f"{source}: empty file, expected columns Quality, {', '.join(IDS)}, #1 String, #2 String")
    pairs = [_extract_ids(rows[0][1], cells) for _, cells in rows[1:]]
    listed = _read_held_out_pairs(folder)
    held_out = set(_select_tenth(pairs)) if listed is None else listed
    notes = (HASHED,) if listed is None else ()
    tables = {}
    for split in ("train", "validation"):
        if split in wanted:
            is_member = [(pair in held_out) == (split == "validation") for pair in pairs]
            split_rows = itertools.chain(rows[:1], itertools.compress(rows[1:], is_member))
            tables[split] = DataTable(table.name, split_rows)
    return RecoveredSplits(tables, notes)


def _extract_ids(header: Sequence[str], cells: Sequence[str]) -> IdPair:
    """The id pair of a row; shorter for a row that lacks them, which the check of columns refuses later."""
    return tuple(cells[header.index(name)] for name in IDS if name in header and header.index(name) < len(cells))


def _read_held_out_pairs(folder: Traversable) -> set[IdPair] | None:
    """The id pairs of GLUE's validation split if a file lists them, else None."""
    if (listed := find_file(folder, "dev_ids.tsv")) is not None:
        pairs = {tuple(cells) for _, cells in open_table(listed).rows}
        if not pairs:
            raise UserError(f"{listed}: empty file, expected the id pairs of the dev rows; give the whole file")
        return pairs
    if (official := find_file(folder, "dev.tsv")) is not None:
        header, *rows = [cells for _, cells in open_table(official).rows] or [[]]
        if not rows:
            raise UserError(f"{official}: no rows, expected the dev rows under {', '.join(IDS)}; give the whole file")
        return {_extract_ids(header, cells) for cells in rows}
    return None


def _select_tenth(pairs: Sequence[IdPair]) -> list[IdPair]:
    """The tenth of the pairs with the smallest sha256: the same in each run, whatever the order of the file."""
    # By hash and not by position, because copies of the release differ in the order of their rows.
    ranked = sorted(pairs, key=lambda pair: hashlib.sha256("\t".join(pair).encode()).digest())
    return ranked[: max(1, round(len(ranked) / 10))]
