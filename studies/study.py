"""A declared study: its question, grids, rule, and what each answer would mean."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.errors import unknown

DECLARED = Path(__file__).parent / "declared"
STAND_IN = (
    "Model and data of this run are stand-ins that ship with the package: the verdict says that the machine works,"
    " and is no evidence about the paper."
)
Kind = Literal["confirmed", "contradicted", "undecided"]


class Study(BaseModel):
    """One file under declared/. A grid holds fields of Spec; its `quick` those of the preset quick alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    question: str
    claim: str = Field(description="what of arXiv 2403.08822 it tests, as a sentence that can be wrong")
    origin: str = Field(description="where the paper says or asks it")
    rule: str = Field(description="a name of studies.rulebook.RULES")
    margin: float | None = Field(default=None, gt=0, description="points that do not matter, named before any run")
    compares: bool = Field(default=True, description="the ordinary comparisons of methods make sense on its cells")
    grids: tuple[dict[str, Any], ...] = ()
    options: dict[str, Any] = Field(default_factory=dict, description="what the rule needs to know")
    answers: dict[Kind, str] = Field(description="what each answer means")
    stand_in: str = Field(default=STAND_IN, description="said first where model and data are stand-ins")
    notes: tuple[str, ...] = ()


def names() -> list[str]:
    """All declared studies."""
    return sorted(path.stem for path in DECLARED.glob("*.toml"))


def load(name: str) -> Study:
    """The study called `name`. Raises UserError with the nearest name."""
    if name not in names():
        raise unknown("study", name, names())
    content = tomllib.loads((DECLARED / f"{name}.toml").read_text())
    return Study.model_validate({"name": name} | content)
