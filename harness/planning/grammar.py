"""The grammar of command-line values: methods with options, data files and models.

--methods      lora,lorasp:ratio=0.25|0.5,rank=8     -> MethodCalls: lora; lorasp 0.25; lorasp 0.5 (both rank 8)
--data-file    qnli/train=PATH | wmt16/train=SRC,TGT  -> {(task or suite, split): paths}
--model        PATH | SUITE=PATH                      -> {suite or '': path}
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import re
import types
import typing
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from harness.core.cell import SHORT_NAMES, Cell
from harness.core.errors import UserError, build_unknown_error, shorten
from harness.core.method import METHODS, STRATEGIES, Method
from harness.core.protocol import Protocol
from harness.core.quantization import QUANTIZATIONS

OVERRIDE_TYPES: dict[str, Any] = {
    **{n: Protocol.model_fields[n].annotation for n in Protocol.model_fields if n not in ("name", "lr_source")},
    **{n: Cell.model_fields[n].annotation for n in ("dtype", "quantize", "recompute")},
}
"""Field -> type of the settings that a method may override for itself, as in `lora:lr=1e-3`.

These are the fields of the protocol, precision, quantization and activation checkpointing.
"""


MAX_METHODS = 1000
"""Most methods of one run, each combination of options counted."""
MAX_INTEGER = 10**9
"""Largest whole number of a method's option: no tensor has more rows."""


@dataclasses.dataclass(frozen=True)
class MethodCall:
    """One method with its options.

    method       the method, options set
    given        names of the options that the user gave
    overrides    settings outside the method that it overrides, such as lr
    named        whether the user wrote this very combination; otherwise it comes from `all` or a product `A|B`
    """

    method: Method
    given: frozenset[str]
    overrides: dict[str, Any]
    named: bool


def parse_methods(text: str) -> list[MethodCall]:
    """The method calls of a text such as `lora,lorasp:ratio=0.25|0.5,rank=8`, products expanded.

    Raises UserError for an unknown name or option, a value of the wrong type or out of range, or too many methods.
    """
    calls: list[MethodCall] = []
    for name, options in _split_methods(text):
        if name == "all":
            # `random` is the default strategy of lorasp, so METHODS covers it already
            _check_method_count(len(calls) + len(METHODS.names()) + len(STRATEGIES.names()))
            calls += [_build_call(n, {}, named=False) for n in METHODS.names()]
            calls += [_build_call("lorasp", {"select": s}, named=False) for s in STRATEGIES.names() if s != "random"]
            continue
        name, short_options = resolve_short_name(name)
        options = short_options | options
        choices = {option: text.split("|") for option, text in options.items()}
        count = math.prod(map(len, choices.values()))
        # before the product is built: ten options of ten values each would fill the memory
        _check_method_count(len(calls) + count)
        for values in itertools.product(*choices.values()):
            calls.append(_build_call(name, dict(zip(choices, values, strict=True)), named=count == 1))
    return calls


def _check_method_count(count: int) -> None:
    """Raise UserError for more than `MAX_METHODS` methods."""
    if count > MAX_METHODS:
        total = f"{count:,} methods, each combination of options counted"
        raise UserError(f"--methods: {total}; allowed: {MAX_METHODS:,}; split the run, or name fewer values")


def resolve_short_name(name: str) -> tuple[str, dict[str, str]]:
    """(method, options) of a short name: `qlora`, `qlorasp` or `lorasp-STRATEGY`; ({}, for a method's own name).

    Raises UserError for an unknown name.
    """
    # a plugin's method may be called lorasp-something: registered names come first
    if name in METHODS:
        return name, {}
    if name in SHORT_NAMES:
        method, quantize, dtype = SHORT_NAMES[name]
        return method, {"quantize": quantize, "dtype": dtype}
    method, dash, selection = name.partition("-")
    if method == "lorasp" and dash:
        # raises the error that names the nearest strategy
        STRATEGIES.get(selection)
        return method, {"select": selection}
    raise build_unknown_error(
        "method", name, [*METHODS.names(), *SHORT_NAMES, *(f"lorasp-{s}" for s in STRATEGIES.names()), "all"]
    )


def _split_methods(text: str) -> list[tuple[str, dict[str, str]]]:
    """(name, {option: text}) for each method of --methods. Raises UserError for a malformed text.

    Commas separate both methods and options: a piece with '=' and without ':' is an option of the method before it.
    """
    methods: list[tuple[str, dict[str, str]]] = []
    for piece in (p.strip() for p in text.split(",")):
        if not piece:
            hint = "write e.g. lora,lorasp:ratio=0.25"
            raise UserError(f"--methods '{shorten(text)}': an empty piece between commas; {hint}")
        name, colon, option_text = piece.partition(":")
        if colon or "=" not in piece:
            if len(methods) == MAX_METHODS:
                raise UserError(f"--methods: more than {MAX_METHODS:,} methods; split the run into several")
            methods.append((name, {}))
            if not option_text:
                continue
        elif not methods:
            raise UserError(f"--methods '{shorten(text)}': option '{shorten(piece)}' comes before any method")
        option, equals, value = (option_text if colon else piece).partition("=")
        if not equals or not value:
            option_label = f"option '{shorten(option)}' of '{shorten(methods[-1][0])}'"
            raise UserError(f"--methods: {option_label} needs a value: {shorten(option)}=VALUE")
        if option in methods[-1][1]:
            option_label = f"option '{shorten(option)}' of '{shorten(methods[-1][0])}'"
            raise UserError(f"--methods: {option_label} is given twice; several: {shorten(option)}=A|B")
        methods[-1][1][option] = value
    return methods


def _build_call(name: str, options: dict[str, str], *, named: bool) -> MethodCall:
    """The call of one method with option texts. Raises UserError."""
    kind = METHODS.get(name)
    hints = typing.get_type_hints(kind)
    fields = {f.name: hints[f.name] for f in dataclasses.fields(kind)}
    method_options, overrides = {}, {}
    for option, text in options.items():
        if option in fields:
            method_options[option] = convert_value(f"{name}:{option}", text, fields[option])
        elif option in OVERRIDE_TYPES:
            overrides[option] = convert_value(f"{name}:{option}", text, OVERRIDE_TYPES[option])
            if option == "quantize":
                QUANTIZATIONS.get(text)
        else:
            raise build_unknown_error(f"option of method '{name}'", option, [*fields, *OVERRIDE_TYPES])
    for option, value in overrides.items():
        if option in Protocol.model_fields:
            check_field(f"{name}:{option}", option, value)
    method = kind(**method_options)
    try:
        method.check()
    except UserError as error:
        raise UserError(f"method '{name}': {error}") from error
    return MethodCall(method, frozenset(method_options), overrides, named)


def convert_value(what: str, text: str, kind: Any) -> Any:
    """`text` as a value of type `kind`; the items of a list are separated by '+'. Raises UserError."""
    value: Any = tuple(text.split("+")) if typing.get_origin(kind) in (tuple, list) else text
    if isinstance(kind, types.UnionType) and type(None) in kind.__args__ and text in ("none", "null"):
        return None
    try:
        result = TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        if typing.get_origin(kind) is Literal:
            allowed = ", ".join(map(str, typing.get_args(kind)))
            raise UserError(f"{what}='{shorten(text)}': allowed: {allowed}") from error
        allowed = getattr(kind, "__name__", str(kind))
        reason = error.errors()[0]["msg"].lower()
        raise UserError(f"{what}='{shorten(text)}': {reason}; allowed: {allowed}") from error
    # pydantic accepts nan and inf as floats, and integers of any size
    numbers = result if isinstance(result, (tuple, list)) else (result,)
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
        raise UserError(f"{what}='{shorten(text)}': allowed: a finite number")
    if any(isinstance(number, int) and abs(number) > MAX_INTEGER for number in numbers):
        raise UserError(f"{what}='{shorten(text)}': allowed: whole numbers up to {MAX_INTEGER:,}")
    return result


def check_field(what: str, field: str, value: Any) -> None:
    """Raise UserError if a value is out of range for a field of Protocol."""
    # lr is the only field without a default
    try:
        Protocol.model_validate({"lr": 1e-3, field: value})
    except ValidationError as error:
        raise UserError(f"{what}={shorten(value)}: {error.errors()[0]['msg'].lower()}") from error


def make_task_name(path: Path) -> str:
    """The task name of a table file: its name without extensions, in letters, digits and underscores."""
    name = re.sub(r"\.(gz|bz2|xz|zst|zip)$", "", path.name, flags=re.IGNORECASE)
    return re.sub(r"\W+", "_", Path(name).stem)


def parse_data_files(texts: Sequence[str]) -> dict[tuple[str, str], tuple[Path, ...]]:
    """{(task or suite, split): paths} of texts such as `qnli/train=PATH` or `wmt16/train=SRC,TGT`. Raises UserError.

    A path alone holds all rows of a task that is named after the file.
    """
    files: dict[tuple[str, str], tuple[Path, ...]] = {}
    for text in texts:
        match = re.fullmatch(r"([\w-]+)/(\w+)=(.+)", text)
        # os.path, because Path raises for a name that is too long and for ~ of an unknown user
        if not match and os.path.isfile(os.path.expanduser(text)):
            path = Path(os.path.expanduser(text))
            files[make_task_name(path), "train"] = (*files.get((make_task_name(path), "train"), ()), path)
            continue
        if not match:
            allowed = "TASK/SPLIT=PATH, e.g. qnli/train=rows.tsv, or SUITE/SPLIT=SRC,TGT, e.g. wmt16/train=a.en,a.ro"
            raise UserError(f"--data-file '{shorten(text)}': allowed: {allowed}; or a file (suite table)")
        # `dev` and `dev_matched` are common names of the validation splits
        split = "validation" + match[2][3:] if match[2].startswith("dev") else match[2]
        files[match[1], split] = (*files.get((match[1], split), ()), *_split_paths(text, match[3]))
    return files


def _split_paths(text: str, written: str) -> tuple[Path, ...]:
    """The paths of one --data-file: one, or several separated by commas. Raises UserError for a missing file."""
    # an existing file with a comma in its name is one path
    whole = Path(os.path.expanduser(written))
    parts = [written] if os.path.isfile(whole) else written.split(",")
    paths = tuple(Path(os.path.expanduser(part)) for part in parts)
    for path in paths:
        if not os.path.isfile(path):
            missing = f"no such file: {shorten(path)}; give the path of a file"
            raise UserError(f"--data-file '{shorten(text)}': {missing}")
    return paths


def parse_models(texts: Sequence[str], suites: Collection[str]) -> dict[str, str]:
    """{suite: path} of texts `SUITE=PATH`; key '' for a `PATH` that applies to all suites.

    Raises UserError for a suite that is not part of the run, and for an empty path.
    """
    models = {}
    for text in texts:
        suite, equals, path = text.partition("=")
        # an existing folder with '=' in its name is a path
        if not equals or os.path.exists(os.path.expanduser(text)):
            suite, path = "", text
        elif suite not in suites:
            raise build_unknown_error(f"suite in --model '{shorten(text)}'", suite, suites)
        if not path.strip():
            raise UserError(f"--model '{text}': allowed: a model folder or hub id, or SUITE=PATH")
        models[suite] = path
    return models
