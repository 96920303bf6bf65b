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
from typing import Annotated, Any, TypeVar

import typer
from pydantic.fields import FieldInfo

from harness.core.method import SUITES
from harness.core.registry import load_package
from harness.core.spec import Spec
from harness.core.spec_types import LISTS
from harness.core.suite_options import SuiteOption


def read_path(text: str | Path) -> Path:
    """The path that a flag or argument gives. Raises typer.BadParameter for an empty text.

    Path("") is the current folder, which an empty shell variable should not name.
    """
    if not str(text).strip():
        raise typer.BadParameter("no path is given; write '.' for the current folder")
    return Path(text)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
SpecFile = Annotated[
    Path | None,
    typer.Option(
        "--spec",
        parser=read_path,
        metavar="FILE",
        help="TOML file with these flags as keys; flags on the command line win",
    ),
]
Command = TypeVar("Command", bound=Callable[..., None])
PLAIN = (bool, int, float)
VALUE_NAMES: Mapping[type, str] = {int: "INTEGER", float: "NUMBER", Path: "PATH", str: "TEXT"}
"""Type of a flag -> its name in the help."""


def choose_option_type(annotation: Any) -> Any:
    """The type that typer parses for a field of Spec: a plain type, a list for a tuple, otherwise text."""
    # typer has no tuples of any length and no rich literals; Spec validates the text, with one kind of message
    if isinstance(annotation, types.UnionType):
        (annotation,) = (a for a in annotation.__args__ if a is not type(None))
    if typing.get_origin(annotation) is tuple:
        return list[Path] if Path in typing.get_args(annotation) else list[str]
    return annotation if annotation in PLAIN else str


def format_metavar(field: FieldInfo) -> str | None:
    """What the help shows as a flag's value: its choices, or its type; None for a switch, which has no value.

    `[,...]` marks a comma-separated list.
    """
    if field.annotation is bool or bool in typing.get_args(field.annotation):
        return None
    leaves = _list_leaf_types(field.annotation)
    # the values of a Literal are its leaves; otherwise the leaf is the one type that is not None
    values = "|".join(leaf if isinstance(leaf, str) else VALUE_NAMES.get(leaf, "TEXT") for leaf in leaves)
    return f"{values}[,...]" if any(kind in field.metadata for kind in LISTS) else values


def format_option_metavar(option: SuiteOption) -> str:
    """What the help shows as the value of a suite's option: its choices, or its type; parts of a list join with +."""
    description = option.describe()
    if description["type"] == "choice":
        return str(description["allowed"])
    names = {"int": VALUE_NAMES[int], "float": VALUE_NAMES[float], "list": f"{VALUE_NAMES[str]}[+...]"}
    return names.get(description["type"], VALUE_NAMES[str])


def _list_leaf_types(annotation: Any) -> list[Any]:
    """The types, or values of a Literal, in an annotation without None and `...`, each once."""
    if typing.get_origin(annotation) is Annotated:  # its other arguments are bounds
        return _list_leaf_types(typing.get_args(annotation)[0])
    arguments = [a for a in typing.get_args(annotation) if a not in (types.NoneType, ...)]
    if not arguments or typing.get_origin(annotation) is typing.Literal:
        return arguments or [annotation]
    leaves = []
    for argument in arguments:
        leaves += _list_leaf_types(argument)
    return list(dict.fromkeys(leaves))


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
        metavar = format_metavar(field)
        option = typer.Option(*declared, help=field.description, show_default=False, metavar=metavar)
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
        default = "" if option.default in (None, ()) else f"; default: {_format_default(option.default)}"
        text = f"{option.help} (suite {', '.join(owners[name])}){default}"
        metavar = None if flag_type is bool else format_option_metavar(option)
        choice = typer.Option(*declared, help=text, show_default=False, metavar=metavar)
        annotation = Annotated[flag_type | None, choice]  # type: ignore[valid-type]
        flag_parameters.append(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        )
    return flag_parameters


def _format_default(value: Any) -> str:
    """The default of a suite's option as the command line would give it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return "+".join(value) if isinstance(value, tuple) else str(value)


def collect_flags(values: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that the user gave, as Spec expects them: a tuple for a list, a Path for the text of a path field."""
    return {name: _convert_value(name, value) for name, value in values.items() if value not in (None, [])}


def _convert_value(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(value)
    field = Spec.model_fields.get(name)
    paths = field is not None and isinstance(value, str) and Path in typing.get_args(field.annotation)
    return Path(value) if paths and value.strip() else value


def add_flags(names: Collection[str]) -> Callable[[Command], Command]:
    """A decorator that adds flags for the fields `names` of Spec to a command.

    The command takes them as `**values`, None or empty where the user gave none; `collect_flags` has those given.
    """

    def decorate(command: Command) -> Command:
        parameters = inspect.signature(command, eval_str=True).parameters.values()
        own = [parameter for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
        flags = [*build_parameters(names), *(build_option_parameters() if "option" in names else [])]
        # typer reads the signature; a wrapper instead would be one more call below every command
        command.__signature__ = inspect.Signature([*own, *flags])  # type: ignore[attr-defined]
        return command

    return decorate
