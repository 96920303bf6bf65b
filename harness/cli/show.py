"""`show KEY`: the record of one stored cell as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from harness.core.errors import UserError, build_unknown_error
from harness.core.files import escape_path, list_files
from harness.core.record import Record
from harness.core.spec import RUNS
from harness.core.stored_files import describe_damage, find_changed_predictions, parse_record
from harness.core.terminal import escape_text

WIDTH = 12
"""Columns of the title of a part; the values stand to the right of it."""


def find_record(prefix: str, out: Path | None) -> tuple[Path, Record]:
    """The run's folder and the record whose key begins with `prefix`.

    Searches the run in `out`, or all runs under `RUNS`. Raises UserError if not exactly one cell matches, or if its
    record is damaged.
    """
    folders = [out] if out is not None else [f.parent for f in sorted(RUNS.glob("*/run.json"))]
    files = {f: folder for folder in folders for f in list_files(folder / "cells", ".json")}
    # by key, for the same cell may be stored in several runs: any of its records will do
    matches = {f.stem: f for f in files if f.stem.startswith(prefix)}
    if not matches:
        where = out or RUNS
        if not files:
            raise UserError(f"no stored cells in {where}; give the folder of a run")
        # a run may have thousands of keys: a few show the form
        raise build_unknown_error(f"key in {where}:", prefix, [*(f.stem for f in files)][:8])
    if len(matches) > 1:
        raise UserError(
            f"'{prefix}' matches {len(matches)} keys: {', '.join(sorted(matches)[:8])}; give more characters"
        )
    (path,) = matches.values()
    try:
        return files[path], parse_record(path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{escape_path(path)} is not a readable record: {describe_damage(error)}; run its cell again"
        ) from error


def format_record(folder: Path, record: Record) -> Iterator[str]:
    """The lines of a record: scores first, then seeds, protocol, data, costs, environment and files."""
    cell = record.cell
    yield escape_text(f"{record.key}: {cell.suite} {cell.task}, {cell.title}, {record.status}")
    yield from _format_part("scores", {name: f"{value:.4f}" for name, value in record.scores.items()})
    yield from _format_part("averages", {name: info.score for name, info in record.averages.items()})
    yield from _format_part("", {"majority baseline": record.majority, "reason": record.reason})
    yield from _format_part("seeds", cell.seeds)
    fields = ("suite_version", "method_version", "options", "preset", "data")
    yield from _format_part("cell", {f: getattr(cell, f) for f in fields} | {"precision": cell.precision})
    yield from _format_part("model", cell.model)
    yield from _format_part("protocol", cell.protocol)
    yield from _format_part(
        "data", {"source": record.data_source, **record.rows, "notes": "; ".join(record.data_notes)}
    )
    for name in ("truncation", "parameters", "train_state", "phases", "pack", "environment"):
        yield from _format_part(name.replace("_", " "), getattr(record, name))
    curve = record.loss_curve
    yield from _format_part(
        "training", {"steps": record.steps, "loss": _format_curve(curve), "time": _format_time(record)}
    )
    yield from _format_part("extra", record.extra)
    yield from _format_part("files", _describe_files(folder, record))
    if record.traceback:
        yield from ("traceback", *(f"  {escape_text(line)}" for line in record.traceback.splitlines()))


def _format_part(title: str, content: BaseModel | Mapping[str, Any] | None) -> Iterator[str]:
    """One line per value, as in 'scores  accuracy  84.2'; None and empty values are left out."""
    if content is None:
        return
    values = content.model_dump() if isinstance(content, BaseModel) else content
    fields = {name: value for name, value in values.items() if value not in (None, "", [], {})}
    for i, (name, value) in enumerate(fields.items()):
        # nested values (options, rows by split) stay on one line, so that each field can be grepped
        text = ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else value
        text = " ".join(map(str, text)) if isinstance(text, list) else text
        yield f"{title if i == 0 else '':{WIDTH}} {escape_text(name).replace('_', ' '):18} {escape_text(text)}"


def _format_curve(curve: list[tuple[int, float]]) -> str:
    # first and last point; dict.fromkeys drops the second where a curve has one point
    ends = dict.fromkeys([curve[0], curve[-1]]) if curve else ()
    return ", ".join(f"{loss:.4f} at step {step}" for step, loss in ends)


def _format_time(record: Record) -> str:
    return f"{record.started} to {record.finished}"


def _describe_files(folder: Path, record: Record) -> dict[str, str]:
    paths = {"record": str(folder / "cells" / f"{record.key}.json")}
    if record.predictions is not None:
        side = record.predictions
        paths["predictions"] = f"{folder / 'cells' / side.path} ({side.rows} rows, sha256 {side.sha256[:12]})"
        if find_changed_predictions(folder / "cells", record):
            paths["predictions"] += ", absent or changed: `run` trains this cell again"
    return paths
