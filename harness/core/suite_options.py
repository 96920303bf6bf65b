"""Options of suites: what `--option NAME=VALUE` may set, how it is read, and where it goes."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import TypeAdapter, ValidationError

from harness.core.errors import UserError, build_unknown_error, shorten
from harness.core.protocol import Protocol


@dataclasses.dataclass(frozen=True)
class SuiteOption:
    """One option. `kind` is its type with pydantic's bounds: int, Annotated[int, Field(ge=0)], Literal["a", "b"].

    An option with the name of a field of Protocol sets that field for the suite's cells; the suite reads others. Those
    are in the key of a cell by name and value, unless `in_rows` says that all they change is the rows, whose
    fingerprint is in the key.
    """

    name: str
    kind: Any
    help: str
    default: Any = None
    in_rows: bool = False

    @property
    def flag(self) -> str:
        """As it is written on the command line: max-target-length."""
        return self.name.replace("_", "-")

    def parse(self, value: Any) -> Any:
        """The value, from text or a TOML value; parts of a list join with +. Raises UserError."""
        is_list = typing.get_origin(_strip(self.kind)) is tuple
        given = tuple(value.split("+")) if is_list and isinstance(value, str) else value
        try:
            return TypeAdapter(self.kind).validate_python(given)
        except ValidationError as error:
            reason = error.errors(include_url=False, include_context=False)[0]["msg"].lower()
            raise UserError(f"{self.flag}='{shorten(value)}': {reason}; {self.help}") from error

    def describe(self) -> dict[str, Any]:
        """Name, type, bounds, default and meaning, as plain data."""
        kind = _strip(self.kind)
        schema = TypeAdapter(self.kind).json_schema()
        bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
        if typing.get_origin(kind) is Literal:
            type_name, allowed = "choice", "|".join(typing.get_args(kind))
        else:
            type_name = "list" if typing.get_origin(kind) is tuple else getattr(kind, "__name__", str(kind))
            allowed = ", ".join(f"{word} {schema[key]:,}" for key, word in bounds.items() if key in schema)
        return {"type": type_name, "default": self.default, "allowed": allowed, "meaning": self.help}


def _strip(kind: Any) -> Any:
    """The type without its annotations."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is Annotated else kind


def build_protocol_option(name: str) -> SuiteOption:
    """An option that is a field of Protocol: its type, bounds, default and description."""
    field = Protocol.model_fields[name]
    kind: Any = field.annotation
    for bound in field.metadata:
        kind = Annotated[kind, bound]
    return SuiteOption(name, kind, field.description or "", field.default)


GENERATION_OPTIONS = tuple(build_protocol_option(name) for name in ("max_target_length", "beams"))
"""Options of a suite whose models write texts."""
INSTRUCTION_OPTIONS = tuple(build_protocol_option(name) for name in ("shots", "template", "packed"))
"""Options of a suite whose models train on instructions and answer questions."""


def parse_options(suite: str, options: Iterable[SuiteOption], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given options as values; None is not given. Raises UserError for an unknown one, a wrong type or range."""
    declared = {option.name: option for option in options}
    values = {}
    for name, value in given.items():
        if name not in declared:
            raise build_unknown_error(f"option of suite '{suite}'", name, declared)
        if value is not None:
            values[name] = declared[name].parse(value)
    return values


def split_option(text: str) -> tuple[str, str]:
    """'max-target-length=64' -> ('max_target_length', '64'). Raises UserError."""
    name, equals, value = text.partition("=")
    if not equals or not name.strip() or not value:
        raise UserError(f"--option '{shorten(text)}': allowed: NAME=VALUE, e.g. shots=5; `suites show NAME` lists them")
    return name.strip().replace("-", "_"), value


def check_names(given: Iterable[str], suites: Mapping[str, Sequence[SuiteOption]]) -> None:
    """Raise UserError for an option that none of the suites has; `suites` are the run's, with their options."""
    names = {option.name for options in suites.values() for option in options}
    for name in given:
        if name not in names:
            run = ", ".join(suites)
            flags = sorted(option.replace("_", "-") for option in names)
            have = f"their options: {', '.join(flags)}" if flags else "they have no options"
            raise UserError(f"option '{shorten(name.replace('_', '-'))}': no suite of this run ({run}) has it; {have}")
