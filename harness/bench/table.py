"""What every bench gives: rows for reading, and the same with all samples as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import UserError


@dataclasses.dataclass(frozen=True)
class Panel:
    """A picture of some figures: bars by name, stacked where there are several series, or a curve over `places`.

    `low` and `high` are ends of whiskers around the one series; `mark` is a value to compare with.
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
    """`rows` by column, for reading; `facts` say on what it was measured; `samples` are raw, one entry a row.

    `panels` are what is drawn of it.
    """

    name: str
    facts: Mapping[str, Any]
    rows: Sequence[Mapping[str, str]]
    samples: Sequence[Mapping[str, Any]]
    panels: Sequence[Panel] = ()

    def text(self) -> str:
        """Aligned columns under a line of facts."""
        lines = [list(self.rows[0]), *(list(row.values()) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        table = ["  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        return "\n".join([", ".join(f"{k} {v}" for k, v in self.facts.items()), *table])

    def content(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        panels = [dataclasses.asdict(panel) for panel in self.panels]
        rows, samples = [dict(r) for r in self.rows], [dict(s) for s in self.samples]
        return {"bench": self.name, "facts": dict(self.facts), "rows": rows, "results": samples, "panels": panels}

    def show(self, out: Path | None) -> None:
        """Print, and write the JSON where a file is named. Raises UserError."""
        print(self.text())
        if out is None:
            return
        try:
            out.write_text(json.dumps(self.content(), indent=1) + "\n")
        except OSError as error:
            raise UserError(f"--out {out}: {error.strerror}; give a file in a folder that exists") from error
