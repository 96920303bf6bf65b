"""The result of a bench: rows to read, samples as JSON, panels to draw; and ratios that several benches report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.files import write_atomically
from harness.core.terminal import align_rows, print_lines

if TYPE_CHECKING:
    from harness.core.spec import Spec


@dataclasses.dataclass(frozen=True)
class Panel:
    """A figure to draw: bars by name, stacked if there are several series, or a curve over `places`.

    `low` and `high` are the ends of whiskers of a single series; `mark` is a reference value.
    """

    label: str
    names: Sequence[str]
    series: Mapping[str, Sequence[float]]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    mark: float | None = None
    places: Sequence[float] = ()


@dataclasses.dataclass(frozen=True)
class Bench:
    """Result of the bench `name`: `rows` of texts by column, `facts` about the machine and the settings.

    `samples` are raw measurements, one entry per row; `panels` are the figures.
    """

    name: str
    facts: Mapping[str, Any]
    rows: Sequence[Mapping[str, str]]
    samples: Sequence[Mapping[str, Any]]
    panels: Sequence[Panel] = ()

    def text(self) -> str:
        """The rows as aligned columns under one line of facts."""
        lines = [list(self.rows[0]), *(list(row.values()) for row in self.rows)]
        table = align_rows(lines)
        return "\n".join([", ".join(f"{k} {v}" for k, v in self.facts.items()), *table])

    def content(self) -> dict[str, Any]:
        """The whole result as plain values for JSON."""
        panels = [dataclasses.asdict(panel) for panel in self.panels]
        rows, samples = [dict(r) for r in self.rows], [dict(s) for s in self.samples]
        return {"bench": self.name, "facts": dict(self.facts), "rows": rows, "results": samples, "panels": panels}

    def show(self, out: Path | None) -> None:
        """Print the rows, and write the JSON to `out` if it is given. Raises UserError."""
        print_lines(self.text().split("\n"))
        if out is None:
            return
        write_atomically(out, (json.dumps(self.content(), indent=1) + "\n").encode())


def build_facts(spec: Spec, device: str, threads: int) -> dict[str, Any]:
    """The facts of a bench on synthetic rows."""
    from harness.core.provenance import format_machine

    return {
        "model": spec.model[0] if spec.model else "embedded encoder",
        "batch": f"{spec.batch_size[0]} x {spec.max_length}",
        "dtype": spec.dtype[0],
        "device": format_machine(device, threads),
    }


SPREAD = {"spread": "of rounds in one process, not between processes"}
"""The fact that belongs to `compute_ratios`: its quantiles do not include differences between processes."""


def compute_ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, float, float]:
    """The 10 %, 50 % and 90 % quantiles of `above / below`, taken round by round."""
    import numpy as np

    # round by round: both sides of a ratio ran at nearly the same speed of the machine
    low, middle, high = np.quantile(np.array(above) / np.array(below), [0.1, 0.5, 0.9])
    return float(low), float(middle), float(high)


def format_ratio(quantiles: tuple[float, float, float]) -> str:
    low, middle, high = quantiles
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
