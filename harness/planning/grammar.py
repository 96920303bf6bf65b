"""The command line's own words: methods with options, seeds, files and models."""

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

from harness.core.cell import SHORT_NAMES, Cell, Protocol
from harness.core.errors import UserError, build_unknown_error, shorten
from harness.core.method import METHODS, STRATEGIES, Method
from harness.core.quantization import QUANTIZATIONS
from harness.core.seeds import STREAMS, equal

OVERRIDE_TYPES: dict[str, Any] = {
    **{n: Protocol.model_fields[n].annotation for n in Protocol.model_fields if n not in ("name", "lr_source")},
    **{n: Cell.model_fields[n].annotation for n in ("dtype", "quantize", "recompute")},
}
"""Fields of the protocol, of precision and of recomputation that a method may set for itself: `lora:lr=1e-3`."""


MAX_METHODS = 1000
"""Methods of one run, each combination of options counted."""
MAX_SEEDS = 10_000
"""Seeds of one run, each combination of streams counted."""
MAX_SEED = 2**63 - 1
MAX_INTEGER = 10**9
"""Of a method's option: no tensor has more rows."""


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
    for name, options in _split_methods(text):
        if name == "all":
            _check_method_count(len(calls) + len(METHODS.names()) + len(STRATEGIES.names()))
            calls += [_build_call(n, {}, named=False) for n in METHODS.names()]
            calls += [_build_call("lorasp", {"select": s}, named=False) for s in STRATEGIES.names() if s != "random"]
            continue
        name, short_options = resolve_short_name(name)
        options = short_options | options
        choices = {option: text.split("|") for option, text in options.items()}
        count = math.prod(map(len, choices.values()))
        _check_method_count(len(calls) + count)
        calls += [
            _build_call(name, dict(zip(choices, values, strict=True)), named=count == 1)
            for values in itertools.product(*choices.values())
        ]
    return calls


def _check_method_count(count: int) -> None:
    """Raise UserError for more methods than a run takes."""
    if count > MAX_METHODS:
        total = f"{count:,} methods, each combination of options counted"
        raise UserError(f"--methods: {total}; allowed: {MAX_METHODS:,}; split the run, or name fewer values")


def resolve_short_name(name: str) -> tuple[str, dict[str, str]]:
    """What a short name stands for: `qlora`, `qlorasp`, `lorasp-STRATEGY`. Raises UserError for no method's name."""
    if name in METHODS:
        return name, {}
    if name in SHORT_NAMES:
        method, quantize, dtype = SHORT_NAMES[name]
        return method, {"quantize": quantize, "dtype": dtype}
    method, dash, selection = name.partition("-")
    if method == "lorasp" and dash:
        STRATEGIES.get(selection)
        return method, {"select": selection}
    raise build_unknown_error(
        "method", name, [*METHODS.names(), *SHORT_NAMES, *(f"lorasp-{s}" for s in STRATEGIES.names()), "all"]
    )


def _split_methods(text: str) -> list[tuple[str, dict[str, str]]]:
    """Method names with their raw options; a comma piece with '=' and no ':' belongs to the method before it."""
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
    """`text` as a value of type `kind`; lists join with '+'. Raises UserError."""
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
    numbers = result if isinstance(result, (tuple, list)) else (result,)
    if any(isinstance(number, float) and not math.isfinite(number) for number in numbers):
        raise UserError(f"{what}='{shorten(text)}': allowed: a finite number")
    if any(isinstance(number, int) and abs(number) > MAX_INTEGER for number in numbers):
        raise UserError(f"{what}='{shorten(text)}': allowed: whole numbers up to {MAX_INTEGER:,}")
    return result


def check_field(what: str, field: str, value: Any) -> None:
    """Raise UserError where a protocol field's range refuses the value."""
    try:
        Protocol.model_validate({"lr": 1e-3, field: value})
    except ValidationError as error:
        raise UserError(f"{what}={shorten(value)}: {error.errors()[0]['msg'].lower()}") from error


def parse_seeds(text: str) -> list[dict[str, int]]:
    """`5` -> seeds 0 to 4 in each stream; `init=0,mask=0..9` -> named streams, others 0, ranges multiplied.

    `5,length=0` -> seeds 0 to 4 with one named stream held.
    """
    text = text.strip()
    if re.fullmatch("0*[1-9][0-9]*", text):
        count = _parse_seed(text)
        _check_seed_count(text, count)
        return [equal(i) for i in range(count)]
    ranges: dict[str, range] = {}
    count_match = re.match("(0*[1-9][0-9]*) *,", text)
    if count_match:
        _check_seed_count(text, _parse_seed(count_match[1]))
    bases = [equal(i) for i in range(int(count_match[1]) if count_match else 1)]
    for piece in text[count_match.end() if count_match else 0 :].split(","):
        match = re.fullmatch(r"\s*(\w+)=([0-9]+)(?:\.\.([0-9]+))?\s*", piece)
        if not match:
            allowed = f"a number of 1 to {MAX_SEEDS:,}, or e.g. init=0,mask=0..9, or 5,length=0"
            raise UserError(f"--seeds '{shorten(text)}': allowed: {allowed}")
        stream, first, last = match[1], _parse_seed(match[2]), _parse_seed(match[3] or match[2])
        if stream not in STREAMS:
            raise build_unknown_error("seed stream", stream, STREAMS)
        if last < first:
            raise UserError(f"--seeds {shorten(piece)}: the range ends before it begins")
        ranges[stream] = range(first, last + 1)
    _check_seed_count(text, len(bases) * math.prod(r.stop - r.start for r in ranges.values()))
    combinations = [dict(zip(ranges, values, strict=True)) for values in itertools.product(*ranges.values())]
    return [base | named_seeds for base in bases for named_seeds in combinations]


def _parse_seed(digits: str) -> int:
    """Raises UserError for a number that no seed can be."""
    if len(digits) > 19 or int(digits) > MAX_SEED:
        raise UserError(f"--seeds {shorten(digits)}: allowed: numbers up to {MAX_SEED}")
    return int(digits)


def _check_seed_count(text: str, count: int) -> None:
    """Raise UserError for more seeds than a run takes; the likely cause is a seed written as a count."""
    if count > MAX_SEEDS:
        single_seed = f"one seed of that value: --seeds {','.join(f'{stream}={text}' for stream in STREAMS)}"
        hint = f"; {single_seed}" if text.isascii() and text.isdigit() else "; name shorter ranges"
        raise UserError(f"--seeds {shorten(text)}: {count:,} seeds; allowed: {MAX_SEEDS:,} at most{hint}")


def make_task_name(path: Path) -> str:
    """The task that a file without one is: its name less the extension, in letters, digits and underscores."""
    name = re.sub(r"\.(gz|bz2|xz|zst|zip)$", "", path.name, flags=re.IGNORECASE)
    return re.sub(r"\W+", "_", Path(name).stem)


def parse_data_files(texts: Sequence[str]) -> dict[tuple[str, str], tuple[Path, ...]]:
    """`qnli/train=PATH` or `wmt16/train=SRC,TGT` (repeatable) -> {(task or suite, split): paths}.

    A file alone is all rows of a task of its name. Raises UserError.
    """
    files: dict[tuple[str, str], tuple[Path, ...]] = {}
    for text in texts:
        match = re.fullmatch(r"([\w-]+)/(\w+)=(.+)", text)
        # os.path gives False where Path raises: a name that is too long, ~ of an unknown user
        if not match and os.path.isfile(os.path.expanduser(text)):
            path = Path(os.path.expanduser(text))
            files[make_task_name(path), "train"] = (*files.get((make_task_name(path), "train"), ()), path)
            continue
        if not match:
            allowed = "TASK/SPLIT=PATH, e.g. qnli/train=rows.tsv, or SUITE/SPLIT=SRC,TGT, e.g. wmt16/train=a.en,a.ro"
            raise UserError(f"--data-file '{shorten(text)}': allowed: {allowed}; or a file (suite table)")
        split = "validation" + match[2][3:] if match[2].startswith("dev") else match[2]
        files[match[1], split] = (*files.get((match[1], split), ()), *_split_paths(text, match[3]))
    return files


def _split_paths(text: str, written: str) -> tuple[Path, ...]:
    """One path, or two with a comma between them; a file that has the comma in its name is one path."""
    whole = Path(os.path.expanduser(written))
    parts = [written] if os.path.isfile(whole) else written.split(",")
    paths = tuple(Path(os.path.expanduser(part)) for part in parts)
    for path in paths:
        if not os.path.isfile(path):
            missing = f"no such file: {shorten(path)}; give the path of a file"
            raise UserError(f"--data-file '{shorten(text)}': {missing}")
    return paths


def parse_models(texts: Sequence[str], suites: Collection[str]) -> dict[str, str]:
    """`PATH` for all suites (key '') or `suite=PATH`. Raises UserError for a suite that is not run, or no path."""
    models = {}
    for text in texts:
        suite, equals, path = text.partition("=")
        if not equals or os.path.exists(os.path.expanduser(text)):
            suite, path = "", text
        elif suite not in suites:
            raise build_unknown_error(f"suite in --model '{shorten(text)}'", suite, suites)
        if not path.strip():
            raise UserError(f"--model '{text}': allowed: a model folder or hub id, or SUITE=PATH")
        models[suite] = path
    return models
