"""What a rule finds: a verdict with its sentence, verdicts of its parts, and the rows of evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.core.record import Profile, Record
from reports.statistics.analysis import Analysis
from studies.study import Kind


@dataclasses.dataclass(frozen=True)
class Part:
    """The verdict on one comparison or one share. `power`: what these seeds would find, and how many it takes."""

    kind: Kind
    sentence: str
    power: str = ""

    @property
    def told(self) -> str:
        """The sentence, with the power where it matters: nothing was decided."""
        return f"{self.sentence} {self.power}" if self.power and self.kind == "undecided" else self.sentence


@dataclasses.dataclass(frozen=True)
class Answer:
    """`parts` by a name that claims.toml may refer to; `rows` are the evidence, one dict a row, same keys.

    `lacks` names what has to be run before there is anything to judge; '' where a verdict was looked for. `exact`: the
    verdict comes from counts alone, whatever data the runs were on.
    """

    kind: Kind
    sentence: str
    parts: Mapping[str, Part]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    lacks: str = ""
    exact: bool = False


@dataclasses.dataclass(frozen=True)
class StudyRuns:
    """All that a study's runs left; `margin` in points, as named before the run, or `late`.

    `run` is the analysis of the whole run where the records are a part of one. `stored` has what
    other studies and runs found, by study (see studies/stored.py).
    """

    records: Sequence[Record] = ()
    profiles: Sequence[Profile] = ()
    analysis: Analysis | None = None
    margin: float | None = None
    cells: Path | None = None
    late: bool = False
    run: Analysis | None = None
    stored: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)

    @property
    def stand_in(self) -> bool:
        """Generated data under a generated model, or random weights."""
        return any(r.stand_in or r.cell.model.name.startswith("shape:") for r in self.records)


def merge_verdicts(kinds: Iterable[Kind]) -> Kind:
    """Of parts that must all hold: one contradicted contradicts, one undecided leaves it open, none decides nothing."""
    distinct = set(kinds)
    if "contradicted" in distinct:
        return "contradicted"
    return "confirmed" if distinct == {"confirmed"} else "undecided"
