"""The tables of a report of single runs: scores, protocol, costs, reruns; and their rows in full."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.core.text import format_bytes
from reports.cells import format_p
from reports.document import Table
from results.imports.base import ImportedRow
from results.imports.compared import Compared, count_right, get_rate, get_scale
from results.imports.settings import (
    describe_changed_settings,
    describe_software,
    find_changed_settings,
    flatten_settings,
)


def build_tables(
    rows: Sequence[ImportedRow],
    compared: Sequence[Compared],
    reruns: Sequence[Mapping[str, Any]],
    steps: Sequence[Mapping[str, Any]],
) -> list[Table]:
    tables = []
    if compared:
        tables += [_build_score_table(compared), _build_protocol_table(compared), _build_cost_table(compared)]
    if reruns:
        notes = ["Runs with the settings of the latest one; fields that not all files have are not looked at."]
        tables.append(Table.of("Runs of one row over time", reruns, notes, "stability"))
    if steps:
        notes = ["Each run against the one before of the same row, where no setting differs."]
        tables.append(Table.of("From one software to the next", steps, notes, "stability"))
    without = [
        {"row": row.name, "run": row.provenance.created[:10], "status": row.status, "why": row.reason or "-"}
        for row in rows
        if row.status != "ok"
    ]
    return [*tables, *([Table.of("Runs without a score", without, (), "evidence")] if without else [])]


def _build_score_table(compared: Sequence[Compared]) -> Table:
    headline = compared[0].row.headline or ""
    others = list(dict.fromkeys(name for one in compared for name in one.row.scores if name != headline))
    table = []
    for one in compared:
        row, difference = one.row, one.difference
        right = count_right(row)
        cells = {
            "row": row.name,
            "run": row.provenance.created[:10],
            f"{headline}, %" if row.questions else headline: f"{get_scale(row) * (row.score or 0):.4g}",
        }
        if row.questions:
            cells |= {
                f"right of {row.questions:,}": "-" if right is None else f"{right:,}",
                "difference": "-" if one.points is None else f"{one.points:+.1f}",
                "95 % interval": f"{difference.low:+.1f} to {difference.high:+.1f}" if difference else "-",
                "p": format_p(difference.p) if difference else "-",
                "adjusted p": format_p(one.adjusted_p) or "-",
            }
        else:
            cells |= {"difference": "-" if one.points is None else f"{one.points:+.3f}"}
        cells |= {name: f"{row.scores[name]:.4g}" if name in row.scores else "-" for name in others}
        table.append(cells | {"note": one.why or "-"})
    notes = ["Latest run of each row. Differences are to the baseline's latest run of the same software and hardware."]
    if compared[0].row.questions:
        notes.append("Interval: Newcombe; p: z-test of two independent shares; adjusted: Holm over all tested rows.")
    return Table.of("Scores", table, notes, "evidence")


def _build_protocol_table(compared: Sequence[Compared]) -> Table:
    common, *_ = compared
    shared = {
        path: value
        for path, value in flatten_settings({"train_config": common.row.settings.get("train_config") or {}}).items()
        if all(flatten_settings(one.row.settings).get(path) == value for one in compared)
    }
    table = []
    for one in compared:
        config = one.row.settings.get("peft_config") or {}
        partner = one.partner or one.row
        changed = find_changed_settings(partner, one.row, "train_config")
        table.append(
            {
                "row": one.row.name,
                "adapter": str(config.get("peft_type", "none")),
                "learning rate": str(get_rate(one.row)),
                "settings other than the baseline's": describe_changed_settings(changed) or "-",
                "software": describe_software(one.row),
                "hardware": one.row.hardware or "-",
            }
        )
    texts = [f"{path.removeprefix('train_config.')}={value}" for path, value in shared.items()]
    notes = [
        f"The same for all rows: {', '.join(texts) or 'nothing'}.",
        "`show KEY` has the whole adapter configuration.",
    ]
    return Table.of("Protocol", table, notes, "protocol")


def _build_cost_table(compared: Sequence[Compared]) -> Table:
    table = []
    for one in compared:
        costs = one.row.costs
        count = costs.get("trainable_parameters")
        table.append(
            {
                "row": one.row.name,
                "trainable parameters": "-" if count is None else f"{count:,.0f}",
                "peak reserved memory": _format_size(costs.get("memory_max_bytes")),
                "train seconds": costs.get("train_seconds"),
                "total seconds": costs.get("total_seconds"),
                "adapter file": _format_size(costs.get("file_bytes")),
                "key": one.row.key,
            }
        )
    notes = [
        "As the files say. Peak memory is of the whole process, evaluation included, and total time includes it too: "
        "neither compares with this harness's profiles, which measure training steps in isolation."
    ]
    return Table.of("Costs", table, notes, "cost")


def _format_size(count: float | None) -> str:
    return "-" if count is None else format_bytes(int(count))


def flatten_row(row: ImportedRow) -> dict[str, Any]:
    start = {
        "key": row.key,
        "source": row.provenance.source,
        "file": row.provenance.file,
        "created": row.provenance.created,
        "benchmark": row.benchmark,
        "row": row.name,
        "model": row.model,
        "status": row.status,
        "headline": row.headline,
        "score": row.score,
        "questions": row.questions,
        "hardware": row.hardware,
    }
    software = {f"{name} version": version for name, version in row.software.items()}
    texts = {name: json.dumps(value) for name, value in row.settings.items()}
    return {**start, **row.scores, **row.costs, **software, **texts}


def flatten_comparison(one: Compared) -> dict[str, Any]:
    test = one.difference
    return {
        "benchmark": one.row.benchmark,
        "row": one.row.name,
        "key": one.row.key,
        "against": one.partner.key if one.partner else None,
        "difference": one.points,
        "low": test.low if test else None,
        "high": test.high if test else None,
        "p": test.p if test else None,
        "p_adjusted": one.adjusted_p,
        "note": one.why,
    }
