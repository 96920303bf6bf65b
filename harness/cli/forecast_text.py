"""The forecast of `plan` for reading."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from harness.bench.table import Bench
from harness.core.record import MemoryShares

if TYPE_CHECKING:
    pass


def format_size(count: int | None) -> str:
    """'' for None; small ones in KiB, so that half of an adapter is seen to be half."""
    if count is None:
        return ""
    for unit, power, places in (("GiB", 30, 2), ("MiB", 20, 1), ("KiB", 10, 1)):
        if abs(count) >= 2**power:
            return f"{count / 2**power:.{places}f} {unit}"
    return f"{count} B"


def format_forecast(made: dict[str, Any]) -> str:
    """The forecast for reading."""
    rows = []
    pack_counts = Counter(json.dumps(pack) for pack in made["packs"])
    for pack, count in ((json.loads(p), n) for p, n in pack_counts.items()):
        parts = {name: format_size(value) for name, value in (pack["shares"] or {}).items()}
        blank = dict.fromkeys(MemoryShares.model_fields, "")
        time = "" if pack["seconds"] is None else f"{pack['seconds']:.1f} s"
        fits = "not predicted" if pack["peak"] is None else "yes" if pack["fits"] else "no"
        row = {
            "task": f"{pack['task']} (tuning)" if pack["tuning"] else pack["task"],
            "methods": pack["methods"],
            "packs": str(count),
            "K": str(pack["k"]),
            "K from": pack["chosen"] or "",
            "steps": str(pack["steps"]),
        }
        rows.append(row | {"peak": format_size(pack["peak"])} | blank | parts | {"fits": fits, "time": time})
    facts = {
        "cells": made["cells"],
        **({"trials of tuning": made["trials"]} if made["trials"] else {}),
        "packs": len(made["packs"]),
        "device": made["device"],
        "memory": format_size(made["memory"]),
    }
    lines = [Bench("plan", facts, rows, []).text(), made["calibration"]]
    if made["device_hours"] is not None:
        lines.append(f"device hours: {made['device_hours']:.3f}")
    for large in made["too_large"]:
        ways = "; ".join(f"{w['flags']} ({format_size(w['peak'])})" for w in large["ways"]) or "no option makes it fit"
        lines.append(f"{large['method']} needs {format_size(large['peak'])}: {ways}")
    if any(", " in p["methods"] and p["peak"] for p in made["packs"]):
        lines.append("memory of a pack of several methods: as if all were the one that takes most")
    notes = dict.fromkeys(f"{p['methods']}: not predicted: {p['note']}" for p in made["packs"] if p["note"])
    return "\n".join([*lines, *notes, *made["dropped"], *made["data"]])
