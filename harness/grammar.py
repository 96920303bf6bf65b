"""The command line's own words: methods with options, seeds, files and models."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import types
import typing
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from harness.cell import SHORT as SHORT, Cell, Protocol
from harness.contracts import METHODS, STRATEGIES, Method
from harness.errors import UserError, unknown
from harness.seeds import STREAMS, equal

OVERRIDES: dict[str, Any] = {
    **{n: Protocol.model_fields[n].annotation for n in Protocol.model_fields if n not in ("name", "lr_source")},
    **{n: Cell.model_fields[n].annotation for n in ("dtype", "quantize", "recompute")},
}
"""Fields of the protocol, of precision and of recomputation that a method may set for itself: `lora:lr=1e-3`."""


@dataclasses.dataclass(frozen=True)
class MethodCall:
    """One method with its options. `named`: the user wrote this very combination, it is not one of a product."""

    method: Method
    given: frozenset[str]
    overrides: dict[str, Any]
    named: bool


def parse_methods(text: str) -> list[MethodCall]:
    """`lora,lorasp:ratio=0.25|0.5,rank=8` -> calls. Raises UserError for a wrong name, option, type or range."""
    calls: list[MethodCall] = []
    for name, options in _pieces(text):
        if name == "all":
            calls += [_call(n, {}, named=False) for n in METHODS.names()]
            calls += [_call("lorasp", {"select": s}, named=False) for s in STRATEGIES.names() if s != "random"]
            continue
        name, meant = short_name(name)
        options = meant | options
        keys = list(options)
        products = list(itertools.product(*(options[k].split("|") for k in keys)))
        calls += [_call(name, dict(zip(keys, values, strict=True)), named=len(products) == 1) for values in products]
    return calls


def short_name(name: str) -> tuple[str, dict[str, str]]:
    """What a short name stands for: `qlora`, `qlorasp`, `lorasp-STRATEGY`. Raises UserError for no method's name."""
    if name in METHODS:
        return name, {}
    if name in SHORT:
        method, quantize, dtype = SHORT[name]
        return method, {"quantize": quantize, "dtype": dtype}
    method, dash, rest = name.partition("-")
    if method == "lorasp" and dash:
        STRATEGIES.get(rest)
        return method, {"select": rest}
    raise unknown("method", name, [*METHODS.names(), *SHORT, *(f"lorasp-{s}" for s in STRATEGIES.names()), "all"])


def _pieces(text: str) -> list[tuple[str, dict[str, str]]]:
    """Method names with their raw options; a comma piece with '=' and no ':' belongs to the method before it."""
    found: list[tuple[str, dict[str, str]]] = []
    for piece in (p.strip() for p in text.split(",")):
        if not piece:
            raise UserError(f"--methods '{text}': an empty piece between commas; write e.g. lora,lorasp:ratio=0.25")
        name, colon, rest = piece.partition(":")
        if colon or "=" not in piece:
            found.append((name, {}))
            if not rest:
                continue
        elif not found:
            raise UserError(f"--methods '{text}': option '{piece}' comes before any method")
        option, equals, value = (rest if colon else piece).partition("=")
        if not equals or not value:
            raise UserError(f"--methods: option '{option}' of '{found[-1][0]}' needs a value: {option}=VALUE")
        if option in found[-1][1]:
            raise UserError(f"--methods: option '{option}' of '{found[-1][0]}' is given twice; several: {option}=A|B")
        found[-1][1][option] = value
    return found


def _call(name: str, options: dict[str, str], *, named: bool) -> MethodCall:
    kind = METHODS.get(name)
    hints = typing.get_type_hints(kind)
    fields = {f.name: hints[f.name] for f in dataclasses.fields(kind)}
    own, overrides = {}, {}
    for option, text in options.items():
        if option in fields:
            own[option] = typed(f"{name}:{option}", text, fields[option])
        elif option in OVERRIDES:
            overrides[option] = typed(f"{name}:{option}", text, OVERRIDES[option])
        else:
            raise unknown(f"option of method '{name}'", option, [*fields, *OVERRIDES])
    for option, value in overrides.items():
        if option in Protocol.model_fields:
            check_field(f"{name}:{option}", option, value)
    method = kind(**own)
    try:
        method.check()
    except UserError as error:
        raise UserError(f"method '{name}': {error}") from error
    return MethodCall(method, frozenset(own), overrides, named)


def typed(what: str, text: str, kind: Any) -> Any:
    """`text` as a value of type `kind`; lists join with '+'. Raises UserError."""
    value: Any = tuple(text.split("+")) if typing.get_origin(kind) in (tuple, list) else text
    if isinstance(kind, types.UnionType) and type(None) in kind.__args__ and text in ("none", "null"):
        return None
    try:
        found = TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        if typing.get_origin(kind) is Literal:
            raise UserError(f"{what}='{text}': allowed: {', '.join(map(str, typing.get_args(kind)))}") from error
        allowed = getattr(kind, "__name__", str(kind))
        raise UserError(f"{what}='{text}': {error.errors()[0]['msg'].lower()}; allowed: {allowed}") from error
    if isinstance(found, float) and found == math.inf:  # nothing that is asked for has no end
        raise UserError(f"{what}='{text}': allowed: a finite number")
    return found


def check_field(what: str, field: str, value: Any) -> None:
    """Raise UserError where a protocol field's range refuses the value."""
    try:
        Protocol.model_validate({"lr": 1e-3, field: value})
    except ValidationError as error:
        raise UserError(f"{what}={value}: {error.errors()[0]['msg'].lower()}") from error


def parse_seeds(text: str) -> list[dict[str, int]]:
    """`5` -> seeds 0 to 4 in each stream; `init=0,mask=0..9` -> named streams, others 0, ranges multiplied."""
    text = text.strip()
    if text.isdigit() and int(text) > 0:
        return [equal(i) for i in range(int(text))]
    ranges: dict[str, list[int]] = {}
    for piece in text.split(","):
        found = re.fullmatch(r"\s*(\w+)=(\d+)(?:\.\.(\d+))?\s*", piece)
        if not found:
            raise UserError(f"--seeds '{text}': allowed: a number of 1 or more, or e.g. init=0,mask=0..9")
        stream, first, last = found[1], int(found[2]), int(found[3] or found[2])
        if stream not in STREAMS:
            raise unknown("seed stream", stream, STREAMS)
        if last < first:
            raise UserError(f"--seeds {piece}: the range ends before it begins")
        ranges[stream] = list(range(first, last + 1))
    return [equal(0) | dict(zip(ranges, values, strict=True)) for values in itertools.product(*ranges.values())]


def task_name(path: Path) -> str:
    """The task that a file without one is: its name less the extension, in letters, digits and underscores."""
    name = re.sub(r"\.(gz|bz2|xz|zst|zip)$", "", path.name, flags=re.IGNORECASE)
    return re.sub(r"\W+", "_", Path(name).stem)


def parse_data_files(texts: Sequence[str]) -> dict[tuple[str, str], tuple[Path, ...]]:
    """`qnli/train=PATH` or `wmt16/train=SRC,TGT` (repeatable) -> {(task or suite, split): paths}.

    A file alone is all rows of a task of its name. Raises UserError.
    """
    files: dict[tuple[str, str], tuple[Path, ...]] = {}
    for text in texts:
        found = re.fullmatch(r"([\w-]+)/(\w+)=(.+)", text)
        if not found and Path(text).expanduser().is_file():
            path = Path(text).expanduser()
            files[task_name(path), "train"] = (*files.get((task_name(path), "train"), ()), path)
            continue
        if not found:
            allowed = "TASK/SPLIT=PATH, e.g. qnli/train=rows.tsv, or SUITE/SPLIT=SRC,TGT, e.g. wmt16/train=a.en,a.ro"
            raise UserError(f"--data-file '{text}': allowed: {allowed}; or a file (suite table)")
        split = "validation" + found[2][3:] if found[2].startswith("dev") else found[2]
        files[found[1], split] = (*files.get((found[1], split), ()), *_paths(text, found[3]))
    return files


def _paths(text: str, written: str) -> tuple[Path, ...]:
    """One path, or two with a comma between them; a file that has the comma in its name is one path."""
    whole = Path(written).expanduser()
    paths = (whole,) if whole.is_file() else tuple(Path(part).expanduser() for part in written.split(","))
    for path in paths:
        if not path.is_file():
            raise UserError(f"--data-file '{text}': no such file: {path}; give the path of a file")
    return paths


def parse_models(texts: Sequence[str], suites: Collection[str]) -> dict[str, str]:
    """`PATH` for all suites (key '') or `suite=PATH`. Raises UserError for a suite that is not run, or no path."""
    models = {}
    for text in texts:
        suite, equals, path = text.partition("=")
        if not equals or Path(text).expanduser().exists():
            suite, path = "", text
        elif suite not in suites:
            raise unknown(f"suite in --model '{text}'", suite, suites)
        if not path.strip():
            raise UserError(f"--model '{text}': allowed: a model folder or hub id, or SUITE=PATH")
        models[suite] = path
    return models
