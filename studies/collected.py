"""What stored studies and plain runs say: each folder as the answers that the claims are judged by."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.cell import labelled
from harness.core.errors import UserError
from harness.core.record import Record
from harness.core.store import Store, first_lines
from harness.core.terminal import print_lines
from harness.planning.grammar import parse_methods
from harness.runner.run import stored as stored_run
from studies import stored
from studies.answer import Gathered
from studies.rulebook import RULES
from studies.specs import every_strategy
from studies.study import Study, load

if TYPE_CHECKING:
    from reports.statistics.analysis import Analysis

JUDGED = frozenset({"compared", "contrast", "gaps", "memory", "streams"})
"""Rules that can be asked of a run that no study made."""
PACKED = "cells.tar.xz"
"""What scripts/pack_reference.py makes of a run's cells."""
Found = Mapping[str, Sequence[Mapping[str, Any]]]


def collected(roots: Sequence[Path], *, named: bool) -> Found:
    """Study (or study/suite) -> what is known of it. A root is a folder of a run or study, or one of such.

    Below a folder of folders the newest of each study and preset counts, and what does not read is left out. Raises
    UserError for a root that the user `named` and that holds nothing.
    """
    found: dict[str, list[Mapping[str, Any]]] = {}
    met: set[Path] = set()
    for root in roots:
        own = _holds(root)
        folders = [root] if own else sorted(path for path in root.glob("*") if _holds(path))
        if named and not folders:
            told = f"--runs {root}: no run and no study there; give folders of `run` or `study`, or one of such"
            packed = next((path.parent for path in (*root.glob(PACKED), *root.glob(f"*/{PACKED}"))), None)
            hint = f", unpacked: python -m scripts.pack_reference --unpack {packed} RUN" if packed else ""
            raise UserError(told + hint)
        fresh = [folder for folder in folders if folder.resolve() not in met]
        met |= {folder.resolve() for folder in fresh}
        for content in _newest(_contents(fresh, own)):
            found.setdefault(content["study"], []).append(content)
    return found


def _holds(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (stored.FILE, "run.json"))


def _contents(folders: Sequence[Path], named: bool) -> Iterator[Mapping[str, Any]]:
    for folder in folders:
        try:
            if not (folder / stored.FILE).is_file():
                yield from of_run(folder)
                continue
            content = stored.read(folder)
            stored.answer_of(content)
        except (UserError, LookupError, TypeError) as error:
            if named:
                raise UserError(f"--runs {folder}: {error}") from error
            print_lines([f"{folder}: skipped: {error}"], sys.stderr)
            continue
        yield content | {"folder": str(folder), "stamp": (folder / stored.FILE).stat().st_mtime}


def _newest(contents: Iterator[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The newest of each study and preset; plain runs all count."""
    kept: dict[tuple[str, ...], Mapping[str, Any]] = {}
    for content in contents:
        own = (content["folder"],) if "stamp" not in content else ()
        key = (content["study"], content["preset"], *own)
        if key not in kept or kept[key]["stamp"] < content["stamp"]:
            kept[key] = content
    return list(kept.values())


# ---------------------------------------------------------------- runs that no study made


def of_run(folder: Path) -> Iterator[Mapping[str, Any]]:
    """The answers of each study that the claims name and that the run has the cells for. Raises UserError."""
    records, profiles, skipped = stored_run(folder)
    print_lines(first_lines(skipped), sys.stderr)
    asked = Store(folder).read_run()
    run = Gathered(
        records, tuple(profiles), None, asked.get("margin"), folder / "cells", bool(asked.get("margin_late"))
    )
    run = dataclasses.replace(run, run=_whole(run))
    places = dict.fromkeys((c["study"], c.get("suite")) for c in load("claims").options["claims"] if "study" in c)
    for name, suite in places:
        study = load(name)
        if study.rule not in JUDGED or not (seen := of_study(study, run, suite)):
            continue
        answer = RULES[study.rule](study, seen)
        if answer.parts:
            content = stored.content(study, answer, seen, seen.records[0].cell.preset, str(asked["command"]))
            key = f"{name}/{suite}" if suite else name
            yield content | {"study": key, "folder": str(folder), "plain": True}


def _whole(run: Gathered) -> Analysis | None:
    """All that the run's own report compares; None where it has cells that are not to be compared."""
    from reports.statistics.analysis import analyse

    try:
        return analyse(run.records, run.profiles, margin=run.margin, cells=run.cells, late=run.late)
    except UserError:
        return None


def of_study(study: Study, run: Gathered, suite: str | None = None) -> Gathered | None:
    """The run's records of the study's methods, in the study's order, at the run's margin or else the study's.

    None where it has none, or none that may be compared.
    """
    from reports.statistics.analysis import analyse

    records = chosen(study, run.records, suite or str(study.grids[0]["suite"]))
    seen = dataclasses.replace(run, records=records, margin=run.margin or study.margin)
    if study.rule != "compared" or len({_way(r) for r in records}) < 2:
        return seen if records else None
    try:
        found = analyse(records, run.profiles, margin=seen.margin, cells=run.cells, late=run.late)
    except UserError:  # cells that differ in protocol, model or data
        return None
    return dataclasses.replace(seen, analysis=found)


def chosen(study: Study, records: Sequence[Record], suite: str) -> list[Record]:
    """Those of the study's methods and levels of precision, the first of them first."""
    ways = list(dict.fromkeys(way for grid in study.grids for way in _ways(grid)))
    own = [r for r in records if r.cell.suite == suite and _way(r) in ways]
    return sorted(own, key=lambda r: ways.index(_way(r)))


def _way(record: Record) -> tuple[str, str, str]:
    return record.cell.label, record.cell.quantize, record.cell.recompute


def _ways(grid: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    methods = str(grid["methods"]).replace("EVERY", "|".join(every_strategy()))
    levels, again = (str(grid.get(axis, "none")).split(",") for axis in ("quantize", "recompute"))
    for call in parse_methods(methods):
        label = labelled(call.method.name, call.method.options())
        yield from ((label, level, how) for level in levels for how in again)
