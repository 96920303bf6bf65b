"""The types of the fields of Spec: lists in one text, bounds, and texts with a form of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from harness.core.errors import shorten
from harness.core.primary import parse_primary
from harness.core.protocol import LIMITS, check_warmup
from harness.core.slurm_options import parse_slurm

MAX_BUDGET = 1e9
"""More hours, cells or money than any run has."""


def _split_words(value: Any) -> Any:
    """'a,b', ['a,b', 'c'] -> words; what is no text is left for pydantic to refuse."""
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, (list, tuple)) and all(isinstance(p, str) for p in texts):
        return tuple(word for part in texts for word in part.split(",") if word)
    return value


def format_integer(value: Any) -> Any:
    """A whole number as text: `seeds = 5` in a TOML file. Python does not write integers above 4,300 digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**100 else f"{shorten(value)}"
    return value


def _split_values(value: Any) -> Any:
    """'1e-3,2e-3', 1e-3 or [1e-3, 2e-3] -> values, each once; None -> no value."""
    if value is None:
        return ()
    values = (value,) if isinstance(value, (int, float)) and not isinstance(value, bool) else _split_words(value)
    if not isinstance(values, tuple):
        return values
    # an empty shell variable is refused like any other text that is no value; only an absent flag means the default
    return tuple(dict.fromkeys(values)) or (() if isinstance(value, (list, tuple)) and not value else ("",))


def _check_slurm(value: str | None) -> str | None:
    """Raise UserError for malformed options."""
    if value is not None:
        parse_slurm(value)
    return value


def _check_primary(value: str | None) -> str | None:
    """Raise UserError for a text that names no comparisons."""
    if value is not None:
        parse_primary(value)
    return value


def _check_folder_name(value: Any) -> Any:
    """Path('') is the current folder, which an empty shell variable should not fill."""
    if isinstance(value, str) and not value.strip():
        raise PydanticCustomError("blank", "no folder is named; give one, '.' for the current")
    return value


Words = BeforeValidator(_split_words)
Axis = BeforeValidator(_split_values)
"""A setting that may have several values, each of which trains every method."""
LISTS = (Words, Axis)
"""Fields with one of these take a comma-separated list."""
Rate = Annotated[float, Field(gt=0, le=LIMITS["lr"])]
Epochs = Annotated[float, Field(gt=0, le=LIMITS["epochs"])]
Steps = Annotated[int, Field(ge=1, le=LIMITS["max_steps"])]
BatchSize = Annotated[int, Field(ge=1, le=LIMITS["batch_size"])]
Warmup = Annotated[float, Field(ge=0, le=LIMITS["max_steps"]), AfterValidator(check_warmup)]
Decay = Annotated[float, Field(ge=0, le=LIMITS["lr"])]
Whole = BeforeValidator(format_integer)
"""Text that a TOML file may give as a whole number."""
Folder = Annotated[Path | None, BeforeValidator(_check_folder_name)]
SlurmOptions = Annotated[str | None, AfterValidator(_check_slurm)]
PrimaryComparisons = Annotated[str | None, AfterValidator(_check_primary)]
