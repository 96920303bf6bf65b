"""Command-line flags built from the fields of Spec.

Flags and keys of the TOML file come from one list, so they cannot differ: field `batch_size`, flag `--batch-size`, key
`batch-size` or `batch_size`.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.core.spec import Spec

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
PLAIN = (bool, int, float)


def choose_option_type(annotation: Any) -> Any:
    """The type that typer parses for a field of Spec: a plain type, a list for a tuple, otherwise text."""
    # typer has no tuples of any length and no rich literals; Spec validates the text, with one kind of message
    if isinstance(annotation, types.UnionType):
        (annotation,) = (a for a in annotation.__args__ if a is not type(None))
    if typing.get_origin(annotation) is tuple:
        return list[Path] if Path in typing.get_args(annotation) else list[str]
    return annotation if annotation in PLAIN else str


def build_parameters(names: Collection[str]) -> list[inspect.Parameter]:
    """One flag per named field, in the order of Spec; the field's description is the help text."""
    flag_parameters = []
    for name, field in Spec.model_fields.items():
        if name not in names:
            continue
        kind, flag = choose_option_type(field.annotation), "--" + name.replace("_", "-")
        declared = [f"{flag}/--no-{flag[2:]}"] if kind is bool else [flag]
        # every default is None, so that a flag that was given can be told from one that was not; the description
        # states the real default
        option = typer.Option(*declared, help=field.description, show_default=False)
        annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
        flag_parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )
    return flag_parameters


def _convert_value(name: str, value: Any) -> Any:
    """The value of a flag as Spec expects it: a tuple for a list, a Path for the text of a path field."""
    if isinstance(value, list):
        return tuple(value)
    # Path('') is the current folder: blank text stays text, which Spec refuses
    paths = isinstance(value, str) and Path in typing.get_args(Spec.model_fields[name].annotation)
    return Path(value) if paths and value.strip() else value


def with_flags(
    function: Callable[..., None], names: Collection[str], own: Mapping[str, tuple[Any, Any]]
) -> Callable[..., None]:
    """A command that calls `function(**own, flags=...)`.

    `own` has the command's own parameters as {name: (annotation, default)}; one without a default
    (inspect.Parameter.empty) is a positional argument. `names` are the fields of Spec to add as flags. `flags` holds
    only the flags that the user gave.
    """

    def command(**given: Any) -> None:
        own_values = {name: given.pop(name) for name in own}
        flags = {name: _convert_value(name, v) for name, v in given.items() if v not in (None, [])}
        function(**own_values, flags=flags)

    own_parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in own.items()
    ]
    # typer reads parameters and help text from here
    command.__signature__ = inspect.Signature([*own_parameters, *build_parameters(names)])  # type: ignore[attr-defined]
    command.__doc__ = function.__doc__
    return command
