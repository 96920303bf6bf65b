"""What a run asked for: OUT/run.json."""

from __future__ import annotations

from pydantic import Field

from harness.core.looks import Look
from harness.core.primary import DEFAULT_COLLAPSE_MARGIN
from harness.core.strict import Stored


class Run(Stored):
    """run.json: what the command asked for, so that a report can be written from the folder alone."""

    command: str = Field(description="command line that started the run")
    title: str = Field(description="title of the report")
    order: list[str] = Field(description="keys of the run's cells, in the order of the report")
    dropped: list[str] = Field(description="one line for each combination that was left out")
    margin: float | None = Field(default=None, description="equivalence margin in points; null: no equivalence test")
    margin_late: bool = Field(default=False, description="whether the margin is post hoc: set when results existed")
    primary: str | None = Field(
        default=None, description="declared primary comparisons; null: every method against the first"
    )
    primary_late: bool = Field(default=False, description="whether the primary comparisons are post hoc")
    collapse_margin: float = Field(
        default=DEFAULT_COLLAPSE_MARGIN,
        description="points above the majority baseline up to which a run counts as collapsed",
    )
    collapse_margin_late: bool = Field(default=False, description="whether the margin of collapses is post hoc")
    auto: str | None = Field(
        default=None, description="range of an automatic number of seeds: auto:5..100; null: fixed"
    )
    auto_late: bool = Field(default=False, description="whether the range is post hoc: set when results existed")
    looks: list[Look] = Field(default_factory=list, description="looks of an automatic number of seeds so far")
    stopped: str = Field(default="", description="why an automatic run added no more seeds; empty: it was interrupted")
    timeline: dict[str, float] = Field(
        default_factory=dict,
        description="seconds from the start of the last command's process to: imported, planned, first pack, first "
        "step, last record, profiled, reported; a part that it did not have is absent, all after an interrupt",
    )
