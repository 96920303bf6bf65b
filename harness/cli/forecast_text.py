"""The output of `plan` as text: which methods fit, the totals, and with --detail one row per kind of pack.

`harness/runner/forecast.py` computes the forecast; this file only lays it out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from harness.core.profile import MemoryShares
from harness.core.progress import format_duration
from harness.core.terminal import align_rows, limit_rows, print_table, print_wrapped
from harness.core.text import count_noun, format_bytes

DROPPED = ("on", "precision")
"""Columns of the decision table that a narrow terminal leaves out, the first of them first."""


def print_forecast(forecast: dict[str, Any], *, detail: bool = False) -> None:
    """Print which methods fit, then the totals and notes; with `detail` also the packs with memory by category."""
    # the precision is in the name where two rows have the same one
    rows, caption = limit_rows(build_method_rows(forecast), "--json", _lacks_memory)
    print_table(rows, {0, 1, 4, 5}, format_device(forecast), caption, drop=DROPPED)
    print_wrapped(format_totals(forecast))
    if detail:
        rows, caption = limit_rows(build_pack_rows(forecast), "--json")
        print_table(rows, {0, 1}, "Packs", caption, drop=DROPPED_OF_PACKS)
    print_wrapped(list_notes(forecast, detail=detail))


def _lacks_memory(row: Sequence[str]) -> bool:
    """Whether the method of a row does not fit, which must not be left out."""
    return row[3] != "yes"


def format_forecast(forecast: dict[str, Any], *, detail: bool = False) -> str:
    """The same as plain text."""
    lines = [format_device(forecast), *align_rows(build_method_rows(forecast)), *format_totals(forecast)]
    lines += align_rows(build_pack_rows(forecast)) if detail else []
    return "\n".join([*lines, *list_notes(forecast, detail=detail)])


def format_device(forecast: dict[str, Any]) -> str:
    """What the plan is for."""
    return f"Each method alone, on {forecast['device']} with {format_bytes(forecast['memory'])} of free memory"


def build_method_rows(forecast: dict[str, Any]) -> list[tuple[str, ...]]:
    """The head, and one row per method and precision: does it fit, and what would make it fit."""
    tasks = {task for entry in forecast["methods"] for task in entry["tasks"]}
    rows: list[tuple[str, ...]] = [("method", "precision", "peak", "fits", "what makes it fit", "on")]
    for entry in forecast["methods"]:
        fits = "unknown" if entry["peak"] is None else "yes" if entry["fits"] else "no"
        ways = "; ".join(f"{way['flags']} ({format_bytes(way['peak'])})" for way in entry["ways"])
        if not entry["fits"] and not ways:
            ways = "no option does"
        some = "" if set(entry["tasks"]) == tasks else ", ".join(entry["tasks"])
        rows.append((entry["title"], entry["precision"], format_bytes(entry["peak"]), fits, ways, some))
    # columns without any content say nothing
    kept = [i for i, column in enumerate(zip(*rows, strict=True)) if i < 4 or any(column[1:])]
    return [tuple(row[i] for i in kept) for row in rows]


def format_totals(forecast: dict[str, Any]) -> list[str]:
    """One line: cells, packs, time on the devices; without a calibration why there is no time.

    Of an automatic number of seeds the line is of the first look, and one more says what the maximum takes.
    """
    auto = forecast["auto"]
    parts = [f"first look, {count_noun(auto['first'], 'seed')}: " if auto else ""]
    parts[0] += count_noun(forecast["cells"], "cell")
    parts += [count_noun(forecast["trials"], "tuning trial")] if forecast["trials"] else []
    parts.append(count_noun(len(forecast["packs"]), "pack"))
    totals = ", ".join(parts)
    if forecast["hours"] is not None:
        time = f"about {format_duration(3600 * forecast['hours'])} on {count_noun(forecast['devices'], 'device')}"
        cost = "" if forecast["cost"] is None else f", cost about {forecast['cost']:.2f}"
        totals += f", {time} ({forecast['device_hours']:.3f} device hours){cost}"
    return [totals, *([_format_most(auto)] if auto else [])]


def _format_most(auto: dict[str, Any]) -> str:
    """What an automatic number of seeds takes if no look decides anything."""
    time = "" if auto["most_hours"] is None else f", about {format_duration(3600 * auto['most_hours'])}"
    return f"at most, {count_noun(auto['most'], 'seed')}: {count_noun(auto['most_cells'], 'cell')}{time}"


DROPPED_OF_PACKS = (*MemoryShares.model_fields, "K from", "steps", "packs")


def build_pack_rows(forecast: dict[str, Any]) -> list[tuple[str, ...]]:
    """The head, and one row per kind of pack with its memory by category."""
    head = ("methods", "task", "packs", "K", "K from", "steps", "peak", *MemoryShares.model_fields, "fits", "time")
    rows: list[tuple[str, ...]] = [head]
    # seeds give many equal packs: JSON text makes them hashable, so that equal ones share a row
    pack_counts = Counter(json.dumps(pack) for pack in forecast["packs"])
    for text, count in pack_counts.items():
        pack = json.loads(text)
        shares = pack["shares"] or {}
        rows.append(
            (
                pack["methods"],
                f"{pack['task']} (tuning)" if pack["tuning"] else pack["task"],
                str(count),
                str(pack["k"]),
                pack["chosen"] or "",
                str(pack["steps"]),
                format_bytes(pack["peak"]),
                *(format_bytes(shares.get(name)) for name in MemoryShares.model_fields),
                "not predicted" if pack["peak"] is None else "yes" if pack["fits"] else "no",
                "" if pack["seconds"] is None else f"{pack['seconds']:.1f} s",
            )
        )
    return rows


def list_notes(forecast: dict[str, Any], *, detail: bool) -> list[str]:
    """What the figures rest on, and what is not predicted."""
    notes = [forecast["calibration"]]
    if any(not p["fits"] and p["peak"] for p in forecast["packs"]) and not forecast["too_large"]:
        notes.append("a pack is larger than the free memory: the run splits it on out of memory, or give --pack")
    if detail and any(", " in p["methods"] and p["peak"] for p in forecast["packs"]):
        notes.append("memory of a pack with several methods: an upper bound, as if every cell used the largest method")
    # dict.fromkeys drops repeated lines and keeps their order
    notes += dict.fromkeys(f"{p['methods']}: not predicted: {p['note']}" for p in forecast["packs"] if p["note"])
    return [*notes, *forecast["dropped"], *forecast["data"]]
