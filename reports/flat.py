"""Records as flat rows, one per score and one per cell: the CSV and Parquet files."""

from __future__ import annotations

import csv
import functools
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from harness.core.record import Record
from reports.frames import build_method_names, format_seeds

Row = Mapping[str, Any]
FORMULA_STARTS = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
"""First characters that make a cell a formula in a spreadsheet."""
IGNORED_STARTS = frozenset("\t\n")
"""First characters that spreadsheets drop."""
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters other than tab and newline; csv does not quote a carriage return, so it would end the row."""
NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def build_score_rows(records: Sequence[Record], names: Mapping[str, str] | None = None) -> list[Row]:
    """One row per metric of each cell; a cell without a score has one row without a value.

    `names`: the result of `build_method_names`, if it is known.
    """
    names = names or build_method_names(records)
    rows: list[Row] = []
    for r in records:
        start = {"suite": r.cell.suite, "task": r.cell.task, "method": names[r.key], "seed": format_seeds(r.cell.seeds)}
        # a failed cell has a row too, so that a count of the rows shows it
        for metric, value in r.scores.items() or [(None, None)]:
            rows.append({**start, "metric": metric, "value": value, "status": r.status, "key": r.key})
    return rows


def build_cell_rows(records: Sequence[Record], names: Mapping[str, str] | None = None) -> list[Row]:
    """One row per cell; None is what was not measured. `names` as for `build_score_rows`."""
    names = names or build_method_names(records)
    averages = list(dict.fromkeys(a for r in records for a in r.averages))
    rows: list[Row] = []
    for r in records:
        p = r.parameters
        rows.append(
            {
                "key": r.key,
                "suite": r.cell.suite,
                "task": r.cell.task,
                "method": names[r.key],
                "seeds": format_seeds(r.cell.seeds),
                "preset": r.cell.preset,
                "status": r.status,
                "reason": r.reason,
                "lr": r.cell.protocol.lr,
                "steps": r.steps,
                "adapter_trained": p.adapter_trained if p else None,
                "adapter_frozen": p.adapter_frozen if p else None,
                "head_trained": p.head_trained if p else None,
                "backbone_trained": p.backbone_trained if p else None,
                "forgetting": r.forgetting.change if r.forgetting else None,
                **{a: r.averages[a].score if a in r.averages else None for a in averages},
            }
        )
    return rows


def to_csv(rows: Sequence[Row]) -> bytes:
    """Floats in full, so that they read back exactly; None is empty; text that is a formula gets an apostrophe."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    head = list(rows[0])
    writer.writerow(map(escape_formula, head))
    for row in rows:
        # most cells are numbers, and files have millions of cells
        values = [row[name] for name in head]
        writer.writerow([_disarm_text(value) if isinstance(value, str) else value for value in values])
    return stream.getvalue().encode(errors="replace")


def escape_formula(value: Any) -> Any:
    """A cell that no spreadsheet runs as a formula: text that begins like one gets an apostrophe before it (OWASP).

    Numbers, and text that is a plain number (-0.5), stay.
    """
    return _disarm_text(value) if isinstance(value, str) else value


@functools.lru_cache(maxsize=4096)  # names of suites, tasks and methods come in each row
def _disarm_text(value: str) -> str:
    if value.isalnum() or NUMBER.fullmatch(value):
        return value
    # a null byte ends the file for some readers, and `cat` sends escape codes to the terminal
    text = CONTROL_CHARACTERS.sub(lambda match: f"\\x{ord(match[0]):02x}", value)
    # spreadsheets leave spaces before a formula out, and Japanese ones take full-width signs
    return f"'{text}" if text[:1] in IGNORED_STARTS or text.lstrip()[:1] in FORMULA_STARTS else text


def to_parquet(rows: Sequence[Row]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), stream)
    return stream.getvalue()
