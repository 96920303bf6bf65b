"""Flags of the command line from the fields of Spec: the flags and the keys of the TOML file are the same words."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.core.method import SUITES
from harness.core.registry import load_package
from harness.core.spec import Spec
from harness.core.suite_options import SuiteOption

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
PLAIN = (bool, int, float)


def choose_option_type(annotation: Any) -> Any:
    """What typer reads for a field: a plain type, a list for a tuple, else text that Spec checks."""
    if isinstance(annotation, types.UnionType):
        (annotation,) = (a for a in annotation.__args__ if a is not type(None))
    if typing.get_origin(annotation) is tuple:
        return list[Path] if Path in typing.get_args(annotation) else list[str]
    return annotation if annotation in PLAIN else str


def build_parameters(names: Collection[str]) -> list[inspect.Parameter]:
    """One flag per named field of Spec, in the order of Spec, with its description."""
    flag_parameters = []
    for name, field in Spec.model_fields.items():
        if name not in names:
            continue
        kind, flag = choose_option_type(field.annotation), "--" + name.replace("_", "-")
        declared = [f"{flag}/--no-{flag[2:]}"] if kind is bool else [flag]
        option = typer.Option(*declared, help=field.description, show_default=False)
        annotation = Annotated[kind | None, option]  # type: ignore[valid-type]
        flag_parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )
    return flag_parameters


def build_option_parameters() -> list[inspect.Parameter]:
    """One flag per option of our own suites; those of a plugin's suites go through --option."""
    load_package("suites")
    owners: dict[str, list[str]] = {}
    options: dict[str, SuiteOption] = {}
    for suite, kind in SUITES:
        for option in kind.options:
            owners.setdefault(option.name, []).append(suite)
            options[option.name] = option
    flag_parameters = []
    for name, option in options.items():
        # Suites read their options from text, so that flag, --option and file give the same message.
        flag_type = bool if option.kind is bool else str
        declared = [f"--{option.flag}/--no-{option.flag}"] if flag_type is bool else [f"--{option.flag}"]
        text = f"{option.help} (suite {', '.join(owners[name])})"
        annotation = Annotated[flag_type | None, typer.Option(*declared, help=text, show_default=False)]  # type: ignore[valid-type]
        flag_parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )
    return flag_parameters


def _convert_value(name: str, value: Any) -> Any:
    """As Spec takes it. Typer's own Path would turn '' into the current folder; it stays text, which Spec refuses."""
    if isinstance(value, list):
        return tuple(value)
    field = Spec.model_fields.get(name)
    paths = field is not None and isinstance(value, str) and Path in typing.get_args(field.annotation)
    return Path(value) if paths and value.strip() else value


def with_flags(
    function: Callable[..., None], names: Collection[str], own: Mapping[str, tuple[Any, Any]]
) -> Callable[..., None]:
    """`function(**own, flags=...)` as a command: its own parameters {name: (annotation, default)}, then fields of Spec.

    `flags` has those that were given. A parameter without a default (inspect.Parameter.empty) is an argument.
    """

    def command(**given: Any) -> None:
        own_values = {name: given.pop(name) for name in own}
        flags = {name: _convert_value(name, v) for name, v in given.items() if v not in (None, [])}
        function(**own_values, flags=flags)

    own_parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in own.items()
    ]
    flag_parameters = [*build_parameters(names), *(build_option_parameters() if "option" in names else [])]
    command.__signature__ = inspect.Signature([*own_parameters, *flag_parameters])  # type: ignore[attr-defined]
    command.__doc__ = function.__doc__
    return command
