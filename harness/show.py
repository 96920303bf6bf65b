"""`show KEY`: one stored cell in readable lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from harness.errors import UserError, unknown
from harness.files import escape_path, list_files
from harness.record import Record
from harness.store import changed, describe_damage, parse_record
from harness.terminal import printable

RUNS = Path("results/runs")
"""Where runs lie that are found without being named."""
WIDTH = 12


def find(prefix: str, out: Path | None) -> tuple[Path, Record]:
    """The run's folder and the record whose key begins so. Raises UserError where that is not exactly one cell."""
    folders = [out] if out is not None else [f.parent for f in sorted(RUNS.glob("*/run.json"))]
    files = {f: folder for folder in folders for f in list_files(folder / "cells", ".json")}
    found = {f.stem: f for f in files if f.stem.startswith(prefix)}
    if not found:
        where = out or RUNS
        if not files:
            raise UserError(f"no stored cells in {where}; give the folder of a run")
        raise unknown(f"key in {where}:", prefix, [*(f.stem for f in files)][:8])
    if len(found) > 1:
        raise UserError(f"'{prefix}' begins {len(found)} keys: {', '.join(sorted(found)[:8])}; give more characters")
    (path,) = found.values()
    try:
        return files[path], parse_record(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{escape_path(path)} does not read as a record: {describe_damage(error)}; run its cell again"
        ) from error


def lines(folder: Path, record: Record) -> Iterator[str]:
    """What it was, what came of it, how it was made, where its files are."""
    cell = record.cell
    yield printable(f"{record.key}: {cell.suite} {cell.task}, {cell.title}, {record.status}")
    yield from _part("scores", {name: f"{value:.4f}" for name, value in record.scores.items()})
    yield from _part("averages", {name: info.score for name, info in record.averages.items()})
    yield from _part("", {"best constant": record.majority, "reason": record.reason})
    yield from _part("seeds", cell.seeds)
    fields = ("suite_version", "method_version", "options", "preset", "data")
    yield from _part("cell", {f: getattr(cell, f) for f in fields} | {"precision": cell.precision})
    yield from _part("model", cell.model)
    yield from _part("protocol", cell.protocol)
    yield from _part("data", {"source": record.data_source, **record.rows, "notes": "; ".join(record.data_notes)})
    for name in ("truncation", "parameters", "train_state", "phases", "pack", "environment"):
        yield from _part(name.replace("_", " "), getattr(record, name))
    curve = record.loss_curve
    yield from _part("training", {"steps": record.steps, "loss": _curve(curve), "time": _time(record)})
    yield from _part("extra", record.extra)
    yield from _part("files", _files(folder, record))
    if record.traceback:
        yield from ("traceback", *(f"  {printable(line)}" for line in record.traceback.splitlines()))


def _part(title: str, content: BaseModel | Mapping[str, Any] | None) -> Iterator[str]:
    """'scores  accuracy  84.2', one line a value; what is None or empty is left out."""
    if content is None:
        return
    values = content.model_dump() if isinstance(content, BaseModel) else content
    told = {name: value for name, value in values.items() if value not in (None, "", [], {})}
    for i, (name, value) in enumerate(told.items()):
        text = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value
        text = " ".join(map(str, text)) if isinstance(text, list) else text
        yield f"{title if i == 0 else '':{WIDTH}} {printable(name).replace('_', ' '):18} {printable(text)}"


def _curve(curve: list[tuple[int, float]]) -> str:
    ends = dict.fromkeys([curve[0], curve[-1]]) if curve else ()
    return ", ".join(f"{loss:.4f} at step {step}" for step, loss in ends)


def _time(record: Record) -> str:
    return f"{record.started} to {record.finished}"


def _files(folder: Path, record: Record) -> dict[str, str]:
    found = {"record": str(folder / "cells" / f"{record.key}.json")}
    if record.predictions is not None:
        side = record.predictions
        found["predictions"] = f"{folder / 'cells' / side.path} ({side.rows} rows, sha256 {side.sha256[:12]})"
        if changed(folder / "cells", record):
            found["predictions"] += ", which are absent or changed: `run` trains this cell again"
    return found
