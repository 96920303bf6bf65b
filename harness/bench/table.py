"""What every bench gives: rows for reading, and the same with all samples as JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import UserError


@dataclasses.dataclass(frozen=True)
class Bench:
    """`rows` by column, for reading; `facts` say on what it was measured; `samples` are raw, one entry a row."""

    name: str
    facts: Mapping[str, Any]
    rows: Sequence[Mapping[str, str]]
    samples: Sequence[Mapping[str, Any]]

    def text(self) -> str:
        """Aligned columns under a line of facts."""
        lines = [list(self.rows[0]), *(list(row.values()) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        table = ["  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        return "\n".join([", ".join(f"{k} {v}" for k, v in self.facts.items()), *table])

    def show(self, out: Path | None) -> None:
        """Print, and write the JSON where a file is named. Raises UserError."""
        print(self.text())
        if out is None:
            return
        content = {"bench": self.name, "facts": dict(self.facts), "results": [dict(s) for s in self.samples]}
        try:
            out.write_text(json.dumps(content, indent=1) + "\n")
        except OSError as error:
            raise UserError(f"--out {out}: {error.strerror}; give a file in a folder that exists") from error
