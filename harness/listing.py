"""What is registered, as plain data for `methods` and `suites`."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from harness.contracts import METHODS, STRATEGIES, SUITES
from harness.registry import load_all


def list_methods() -> list[dict[str, Any]]:
    """Name, paper, summary, options with type and default, and learning rates with their sources."""
    load_all()
    found: list[dict[str, Any]] = []
    for name, kind in METHODS:
        hints = typing.get_type_hints(kind)
        options = {f.name: {"type": str(_name(hints[f.name])), "default": f.default} for f in dataclasses.fields(kind)}
        lines = [f"{o}={_written(v['default'])} ({v['type']})" for o, v in options.items()]
        found.append(
            {
                "name": name,
                "summary": kind.summary + (f" ({kind.paper})" if kind.paper else ""),
                "paper": kind.paper,
                "version": kind.version,
                "options": options,
                "learning_rates": {k: dataclasses.asdict(v) for k, v in kind.learning_rates.items()},
                "lines": lines,
            }
        )
    strategies = STRATEGIES.names()
    for item in found:
        if "select" in item["options"]:
            item["options"]["select"]["allowed"] = strategies
    return found


def list_suites() -> list[dict[str, Any]]:
    """Name, summary, tasks with their metrics, and named averages."""
    load_all()
    return [
        {
            "name": name,
            "summary": kind.summary,
            "version": kind.version,
            "tasks": {t.name: list(t.metrics) for t in kind.tasks.values()},
            "averages": {a.name: sorted(a.scores) for a in kind.averages},
            "lines": [f"{t.name}: {', '.join(t.metrics)}" for t in kind.tasks.values()],
        }
        for name, kind in SUITES
    ]


def _name(hint: Any) -> str:
    return getattr(hint, "__name__", str(hint)) if not typing.get_args(hint) else str(hint).replace("typing.", "")


def _written(value: Any) -> str:
    return "+".join(value) if isinstance(value, tuple) else str(value)
