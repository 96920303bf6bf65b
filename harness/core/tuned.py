"""Results of tuning: OUT/tuning/tuned.json."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.core.strict import Stored, Strict

Edge = Literal["lowest", "highest", "only"]


class Trial(Strict):
    """One trial of tuning, failed or not: the values tried, and their score on the validation part."""

    values: dict[str, int | float] = Field(description="the learning rate, and the method's tunable options")
    keys: list[str] = Field(description="keys of its cells under tuning/cells, one per task")
    score: float | None = Field(description="headline score in points, mean over tasks; null if a task has no score")
    reason: str | None = Field(default=None, description="why there is no score")
    steps: int = Field(description="optimizer steps")
    seconds: float = Field(description="its share of the time of its packs")


class Tuned(Strict):
    """The result of tuning one method, on one task or on several together."""

    suite: str
    tasks: list[str] = Field(description="tasks on whose validation parts it was tuned")
    method: str = Field(description="the method as written on the command line, before tuning")
    ranges: dict[str, tuple[float, float]] = Field(description="searched range of each value, both ends included")
    trials: list[Trial] = Field(description="all trials; the first has the declared values")
    best: int | None = Field(description="index of the chosen trial, from 0; null if none has a score")
    edges: dict[str, Edge] = Field(
        description="chosen values that are the lowest or highest tried: the best value may lie beyond"
    )


class TunedMethods(Stored):
    """tuning/tuned.json: the results of tuning all methods of a run."""

    methods: list[Tuned]
