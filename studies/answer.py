"""The answer of a rule: a verdict with its sentence, verdicts of its parts, and the rows of evidence."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.profile import Profile
from harness.core.record import Record
from reports.document import Extra
from reports.statistics.analysis import Analysis
from studies.study import Kind

if TYPE_CHECKING:
    import pandas as pd

    from studies.surface.rates import BestRate
    from studies.surface.runs import Place


@dataclasses.dataclass(frozen=True)
class Part:
    """The verdict on one comparison or share. `power`: the minimum detectable difference, and the seeds needed.

    `exact`: it follows from counts alone, whatever data and weights the runs used.
    """

    kind: Kind
    sentence: str
    power: str = ""
    exact: bool = False

    @property
    def summary(self) -> str:
        """The sentence; where nothing was decided, with the power."""
        return f"{self.sentence} {self.power}" if self.power and self.kind == "undecided" else self.sentence


@dataclasses.dataclass(frozen=True)
class Answer:
    """`parts` by a name that claims.toml may refer to; `rows` are the evidence, each with the same keys.

    `lacks` names what has to be run before a verdict is possible; '' where nothing is missing. `exact`: the verdict
    comes from counts alone, whatever data the runs used. `tables`: further evidence; `runs`: the table of runs that a
    surface is judged by, for its figure and its file.
    """

    kind: Kind
    sentence: str
    parts: Mapping[str, Part]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()
    lacks: str = ""
    exact: bool = False
    tables: Sequence[Extra] = ()
    runs: Any = None


@dataclasses.dataclass(frozen=True)
class StudyRuns:
    """Records and profiles of a study's runs; `margin` in points; `late`: it was named after there were results.

    `run` is the analysis of the whole run where the records are a part of one. `stored` has the answers of other
    studies and runs, by study (see studies/stored.py). `runs`: a stored table in place of records, for study surface.
    `best`: the rates that were chosen where methods had several, and `choice` says how (see studies/fresh_seeds.py).
    """

    records: Sequence[Record] = ()
    profiles: Sequence[Profile] = ()
    analysis: Analysis | None = None
    margin: float | None = None
    cells: Path | None = None
    late: bool = False
    run: Analysis | None = None
    stored: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    runs: pd.DataFrame | None = None
    best: Mapping[tuple[Place, str], BestRate] = dataclasses.field(default_factory=dict)
    choice: str = ""

    @property
    def stand_in(self) -> bool:
        """Generated data under a generated model, or random weights."""
        # Scores of random weights are as little evidence as those of generated data.
        if self.runs is not None:
            return bool(self.runs["stand_in"].any())
        return any(r.stand_in or r.cell.model.name.startswith("shape:") for r in self.records)


def merge_verdicts(kinds: Iterable[Kind]) -> Kind:
    """The verdict on parts that must all hold: contradicted if one is, confirmed if all are, else undecided."""
    distinct = set(kinds)
    if "contradicted" in distinct:
        return "contradicted"
    return "confirmed" if distinct == {"confirmed"} else "undecided"
