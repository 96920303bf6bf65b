"""A spec from flags, and from a TOML file with the same names."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.core.errors import UserError, build_unknown_error, shorten
from harness.core.method import SUITES
from harness.core.registry import load_package
from harness.core.spec import Spec
from harness.core.spec_texts import check_texts
from harness.core.spec_types import format_integer
from harness.core.suite_options import split_option


def make_spec(flags: dict[str, Any], file: Path | None = None) -> Spec:
    """A spec from the flags that were given, over a TOML file's keys. Raises UserError naming the field.

    Options of suites may be keys of their own, as in `shots = 5`. An option of the flags replaces that of the file.
    """
    content = _gather_options(read_toml(file), f"key in {file}:") if file else {}
    given = _gather_options(flags, "field")
    options = content.get("option", {}) | given.get("option", {})
    for key, value in (content | given).items():
        if key != "option":
            check_texts(key.replace("_", "-"), value)
    fields = content | given | ({"option": tuple(f"{k}={v}" for k, v in sorted(options.items()))} if options else {})
    try:
        return Spec.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = str(first["loc"][0])
        raise UserError(f"{field.replace('_', '-')}='{shorten(first['input'])}': {first['msg'].lower()}") from error


def _gather_options(fields: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The fields of Spec, with the options of suites as one mapping under `option`. Raises UserError.

    A file may give options as keys (`shots = 5`), as a table (`[option]`) or as a list (`option = ["shots=5"]`).
    """
    gathered = {key: value for key, value in fields.items() if key in Spec.model_fields and key != "option"}
    pairs = _split_options(fields.get("option"))
    if unknown := {key: value for key, value in fields.items() if key not in Spec.model_fields}:
        names = list_option_names()
        for key in unknown:
            if key not in names:
                raise build_unknown_error(what, key, [*Spec.model_fields, *names])
        pairs += unknown.items()
    options: dict[str, Any] = {}
    for name, value in pairs:
        if name in options:
            raise UserError(f"option '{shorten(name.replace('_', '-'))}' is given twice; keep one")
        check_texts(name.replace("_", "-"), value)
        options[name] = _format_option(name, value)
    return gathered | ({"option": options} if options else {})


def _split_options(given: Any) -> list[tuple[str, Any]]:
    """Names and values of the field `option`. Raises UserError."""
    if isinstance(given, Mapping):
        return [(str(name).replace("-", "_"), value) for name, value in given.items()]
    texts = [] if given is None else given if isinstance(given, (list, tuple)) else [given]
    for text in texts:
        if not isinstance(text, str):
            raise UserError(f"option='{shorten(text)}': allowed: NAME=VALUE, e.g. shots=5")
    return [split_option(text) for text in texts]


def _format_option(name: str, value: Any) -> str:
    """A value as the command line writes it, so that a flag and a file give the same spec. Raises UserError."""
    parts = value if isinstance(value, (list, tuple)) else [value]
    if not parts or not all(isinstance(part, (str, int, float)) for part in parts):
        raise UserError(
            f"{name.replace('_', '-')}='{shorten(value)}': allowed: text, a number, true or false, or a list"
        )
    texts = [format_integer(part) for part in parts]
    return "+".join(str(text).lower() if isinstance(text, bool) else str(text) for text in texts)


def list_option_names() -> list[str]:
    """Names of the options of all registered suites, ours among them."""
    load_package("suites")
    return sorted({option.name for _, kind in SUITES for option in kind.options})


def read_toml(path: Path) -> dict[str, Any]:
    """The keys of a TOML file, '-' read as '_'. Raises UserError."""
    try:
        with path.open("rb") as stream:
            content = tomllib.load(stream)
    except OSError as error:
        raise UserError(f"--spec {path}: {error.strerror}; give a TOML file") from error
    except RecursionError as error:
        raise UserError(f"--spec {path}: nested too deeply; give keys and values, as in suite = 'glue'") from error
    except ValueError as error:  # bytes that are not UTF-8 and integers of thousands of digits, too
        raise UserError(f"--spec {path}: not TOML: {error}") from error
    fields = {key.replace("-", "_"): value for key, value in content.items()}
    if len(fields) < len(content):
        duplicate = next(key for key in content if "-" in key and key.replace("-", "_") in content)
        raise UserError(f"--spec {path}: '{duplicate}' is given twice, with '-' and with '_'; keep one")
    return fields
