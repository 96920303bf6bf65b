"""The output of `plan` as text: one table row per kind of pack, then notes.

`harness/runner/forecast.py` computes the forecast; this file only lays it out.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from harness.bench.table import Bench
from harness.core.record import MemoryShares
from harness.core.text import format_bytes


def format_forecast(forecast: dict[str, Any]) -> str:
    """The lines of a forecast: the table of packs, device hours, methods that do not fit, and notes."""
    rows = []
    # seeds give many equal packs: JSON text makes them hashable, so that equal ones share a row
    pack_counts = Counter(json.dumps(pack) for pack in forecast["packs"])
    for text, count in pack_counts.items():
        pack = json.loads(text)
        parts = {name: format_bytes(value) for name, value in (pack["shares"] or {}).items()}
        # a pack that was not predicted still needs all columns, for the table has those of its first row
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
        rows.append(row | {"peak": format_bytes(pack["peak"])} | blank | parts | {"fits": fits, "time": time})
    facts = {
        "cells": forecast["cells"],
        **({"tuning trials": forecast["trials"]} if forecast["trials"] else {}),
        "packs": len(forecast["packs"]),
        "device": forecast["device"],
        "memory": format_bytes(forecast["memory"]),
    }
    lines = [Bench("plan", facts, rows, []).text(), forecast["calibration"]]
    if forecast["device_hours"] is not None:
        lines.append(f"device hours: {forecast['device_hours']:.3f}")
    for large in forecast["too_large"]:
        ways = "; ".join(f"{w['flags']} ({format_bytes(w['peak'])})" for w in large["ways"]) or "no option makes it fit"
        lines.append(f"{large['method']} needs {format_bytes(large['peak'])}: {ways}")
    if any(", " in p["methods"] and p["peak"] for p in forecast["packs"]):
        lines.append("memory of a pack with several methods: an upper bound, as if every cell used the largest method")
    # dict.fromkeys drops repeated lines and keeps their order
    notes = dict.fromkeys(f"{p['methods']}: not predicted: {p['note']}" for p in forecast["packs"] if p["note"])
    return "\n".join([*lines, *notes, *forecast["dropped"], *forecast["data"]])
