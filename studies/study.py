"""A declared study: its question, grids, rule, and what each answer would mean."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.core.errors import UserError, build_unknown_error
from harness.core.spec_texts import check_text

DECLARED = Path(__file__).parent / "declared"
SYNTHETIC_NOTE = (
    "Model and data of this run are synthetic: the verdict shows that the study works and is no evidence about the"
    " paper."
)
Kind = Literal["confirmed", "contradicted", "undecided"]


class Study(BaseModel):
    """One file under declared/. A grid has fields of Spec; its `quick` has those of preset quick alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    question: str
    claim: str = Field(description="what of arXiv 2403.08822 it tests, as a sentence that can be wrong")
    origin: str = Field(description="where the paper says or asks it")
    rule: str = Field(description="a name of studies.rulebook.RULES")
    margin: float | None = Field(
        default=None, gt=0, description="difference in points that does not matter, named before any run"
    )
    compares: bool = Field(default=True, description="whether the report compares the methods of its cells as usual")
    grids: tuple[dict[str, Any], ...] = ()
    options: dict[str, Any] = Field(default_factory=dict, description="options of the rule")
    answers: dict[Kind, str] = Field(description="what each answer means")
    stand_in: str = Field(
        default=SYNTHETIC_NOTE, description="first sentence of the report where model and data are synthetic"
    )
    notes: tuple[str, ...] = ()
    cut: str = Field(default="", description="what the embedded default leaves out, and the flags for the full study")


def list_studies() -> list[str]:
    """All declared studies."""
    return sorted(path.stem for path in DECLARED.glob("*.toml"))


def load_study(name: str) -> Study:
    """A declared study by name, or that of a TOML file. Raises UserError with the nearest name, or the error."""
    path = Path(os.path.expanduser(name))
    if name.endswith(".toml") and os.path.isfile(path):
        return read_study(path)
    if name not in list_studies():
        raise build_unknown_error("study", name, list_studies())
    return read_study(DECLARED / f"{name}.toml")


def _check_texts(path: Path, value: Any) -> None:
    """Raise UserError for characters that a path or a record cannot have."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for item in value:
            _check_texts(path, item)
    elif isinstance(value, str):
        check_text(f"study {path}: a value", value)


def read_study(path: Path) -> Study:
    """The study that a file declares. Raises UserError naming the file and the key."""
    try:
        content = tomllib.loads(path.read_bytes().decode())
    except RecursionError as error:
        raise UserError(f"study {path}: nested too deeply; give keys and values as the declared studies do") from error
    except (OSError, ValueError) as error:
        raise UserError(f"study {path}: not TOML: {error}") from error
    _check_texts(path, content)
    try:
        study = Study.model_validate({"name": path.stem} | content)
    except ValidationError as error:
        first = error.errors()[0]
        allowed = ", ".join(Study.model_fields)
        key = ".".join(str(part) for part in first["loc"])
        raise UserError(f"study {path}: {key}: {first['msg'].lower()}; keys: {allowed}") from error
    if lacking := {"confirmed", "contradicted", "undecided"} - set(study.answers):
        raise UserError(f"study {path}: answers.{min(lacking)} is missing: each answer needs its meaning")
    return study
