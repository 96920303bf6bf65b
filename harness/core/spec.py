"""What the user asked for, from flags or a TOML file."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from harness.core.cell import LIMITS, Precision, Recompute
from harness.core.errors import UserError, build_unknown_error, shorten
from harness.core.file_names import make_file_name
from harness.core.method import SUITES
from harness.core.quantization import QUANTIZATIONS, describe_quantizations
from harness.core.registry import load_all, load_package
from harness.core.suite_options import split_option

REPORT_FIELDS = frozenset({"formats", "figures", "published", "tensorboard"})
"""Fields of what is written beside the records."""
MACHINE_FIELDS = (
    frozenset({"device", "pack", "threads", "out", "profile", "retry", "save_adapters", "margin", "cache"})
    | REPORT_FIELDS
)
"""Fields that change no result: not in the name of the output folder."""
PATH_FLAGS = frozenset({"out", "data-dir", "plugin", "model", "init-from"})
"""Flags whose text is a path."""
NAME_BYTES, PATH_BYTES = 255, 4000
"""The usual limits of a file system; a path of 4,096 bytes leaves room for the names that the run adds."""


def _split_words(value: Any) -> Any:
    """'a,b', ['a,b', 'c'] -> words; what is no text is left for pydantic to refuse."""
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, (list, tuple)) and all(isinstance(p, str) for p in texts):
        return tuple(word for part in texts for word in part.split(",") if word)
    return value


def _format_integer(value: Any) -> Any:
    """A whole number as text: `seeds = 5` in a TOML file. Python does not write integers above 4,300 digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**100 else f"{shorten(value)}"
    return value


Words = BeforeValidator(_split_words)


class Spec(BaseModel):
    """One run. Each field is a flag of `run` and a key of the TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    suite: Annotated[tuple[str, ...], Words] = Field(default=("glue",), min_length=1, description="suites")
    tasks: Annotated[tuple[str, ...], Words] = Field(default=(), description="tasks; none: all of the suites")
    methods: str = Field(default="lora,lorasp", description="methods with options: lora,lorasp:ratio=0.25|0.5")
    seeds: Annotated[str, BeforeValidator(_format_integer)] = Field(
        default="5", description="a number of paired seeds, named streams (init=0,mask=0..9), or both (5,length=0)"
    )
    preset: str = Field(default="quick", description="quick, small or paper: model, data and budget")
    protocol: Literal["default", "paper"] = Field(
        default="default", description="default: declared learning rates; paper: 2e-5 and 3 epochs"
    )
    tune: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="trials of each method over its learning rate, scored on a part of the train rows",
    )
    tune_tasks: Annotated[tuple[str, ...], Words] = Field(
        default=(), description="tune on these tasks only: one value a method, best in the mean, for all tasks"
    )
    tune_seeds: int = Field(
        default=1, ge=1, le=1000, description="seeds of each trial of --tune, whose mean is its score"
    )
    model: tuple[str, ...] = Field(default=(), description="a model folder or hub id, for all suites or as SUITE=PATH")
    data_dir: Path | None = Field(default=None, description="folder of the official files (the suite's or its parent)")
    data_file: tuple[str, ...] = Field(
        default=(),
        description="TASK/SPLIT=PATH: rows that are not the official file; SUITE/train=SRC,TGT: sentence pairs",
    )
    option: tuple[str, ...] = Field(
        default=(), description="NAME=VALUE: an option of a suite; `suites show NAME` lists those of a suite"
    )
    lr: float | None = Field(default=None, gt=0, le=LIMITS["lr"], description="peak learning rate of every method")
    epochs: float | None = Field(default=None, gt=0, le=LIMITS["epochs"], description="passes over the training rows")
    max_steps: int | None = Field(default=None, ge=1, le=LIMITS["max_steps"], description="optimizer steps at most")
    batch_size: int | None = Field(default=None, ge=1, le=LIMITS["batch_size"], description="rows per step")
    max_length: int | None = Field(default=None, ge=4, le=LIMITS["max_length"], description="tokens per row at most")
    group_by_length: bool | None = Field(
        default=None,
        description="batches of rows of like length: less padding; a pack has one length seed"
        " (--seeds 8,length=0: one for all)",
    )
    label_smoothing: float | None = Field(default=None, ge=0, lt=1, description="of the cross-entropy; 0: none")
    train_rows: int | None = Field(default=None, ge=1, le=LIMITS["train_rows"], description="training rows at most")
    eval_rows: int | None = Field(
        default=None,
        ge=1,
        le=LIMITS["eval_rows"],
        description="rows of each eval split (mmlu: of each subject) at most",
    )
    dtype: Annotated[tuple[Precision, ...], Words] = Field(
        default=("fp32",), min_length=1, description="precision of the frozen backbone: fp32,bf16"
    )
    quantize: Annotated[tuple[str, ...], Words] = Field(
        default=("none",),
        min_length=1,
        description="quantization of the frozen backbone: " + describe_quantizations(),
    )
    recompute: Annotated[tuple[Recompute, ...], Words] = Field(
        default=("none",),
        min_length=1,
        description="activations that the backward pass computes again: none,selective,full",
    )
    init_from: str | None = Field(
        default=None,
        min_length=1,
        description="an adapter to start from: a folder of peft's layout, a file of microsoft/LoRA's (FILE:alpha=16),"
        " or a run that saved its adapters (RUN:TASK, of the same method and seeds)",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where to train")
    pack: int | None = Field(
        default=None, ge=1, le=100_000, description="cells that train as one batch at most; 1: each alone"
    )
    threads: int | None = Field(default=None, ge=1, le=1024, description="CPU threads; none: all cores")
    out: Path | None = Field(default=None, description="output folder; none: a stable one under results/runs/")
    profile: bool = Field(default=True, description="measure memory and speed of each method alone at the end")
    save_adapters: bool = Field(
        default=False,
        description="save adapters and heads for peft, as OUT/adapters/KEY; finished cells without one run again",
    )
    margin: float | None = Field(
        default=None, gt=0, le=100, description="points within which two methods count as equal; name it before the run"
    )
    cache: bool = Field(
        default=True, description="keep tokenised rows and predictions of plan under ~/.cache/lorasp-harness"
    )
    retry: bool = Field(default=False, description="run failed and out-of-memory cells again")
    formats: Annotated[tuple[str, ...], Words] = Field(
        default=("md", "html", "csv"), min_length=1, description="formats of the report: md,html,latex,csv,parquet"
    )
    figures: Annotated[tuple[str, ...], Words] = Field(
        default=("png", "svg"), description="formats of the figures' files: png,svg,pdf"
    )
    published: bool = Field(default=False, description="show published figures beside the results, in their own table")
    tensorboard: bool = Field(default=False, description="write losses and scores as TensorBoard event files")
    plugin: tuple[Path, ...] = Field(
        default=(), description="Python files that register methods, strategies, suites, quantization types"
    )

    @model_validator(mode="after")
    def _check_quantize(self) -> Self:
        """Raise UserError for a type that neither the harness nor a plugin registers."""
        if any(name not in QUANTIZATIONS for name in self.quantize):
            load_all(self.plugin)
        for name in self.quantize:
            QUANTIZATIONS.get(name)
        return self

    @field_validator("out", "data_dir", mode="before")
    @classmethod
    def _check_folder_name(cls, value: Any) -> Any:
        """Path('') is the current folder, which an empty shell variable should not fill."""
        if isinstance(value, str) and not value.strip():
            raise PydanticCustomError("blank", "no folder is named; give one, '.' for the current")
        return value

    @property
    def folder(self) -> Path:
        """Where the results go: the same for the same question."""
        if self.out is not None:
            return self.out
        content = self.model_dump_json(exclude=set(MACHINE_FIELDS))
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        name = make_file_name(f"{'-'.join(self.suite)}-{self.preset}")
        return Path("results/runs") / f"{name}-{digest}"


def make_spec(flags: dict[str, Any], file: Path | None = None) -> Spec:
    """A spec from the flags that were given, over a TOML file's keys. Raises UserError naming the field.

    Options of suites may be keys of their own, as in `shots = 5`. An option of the flags replaces that of the file.
    """
    content = _gather_options(read_toml(file), f"key in {file}:") if file else {}
    given = _gather_options(flags, "field")
    options = content.get("option", {}) | given.get("option", {})
    for key, value in (content | given).items():
        if key != "option":
            _check_texts(key.replace("_", "-"), value)
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
        _check_texts(name.replace("_", "-"), value)
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
    texts = [_format_integer(part) for part in parts]
    return "+".join(str(text).lower() if isinstance(text, bool) else str(text) for text in texts)


def list_option_names() -> list[str]:
    """Names of the options of all registered suites, ours among them."""
    load_package("suites")
    return sorted({option.name for _, kind in SUITES for option in kind.options})


def _check_texts(field: str, value: Any) -> None:
    """Raise UserError for text that no path and no record can hold: NUL, half a character, a name that is too long."""
    for item in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(item, (str, Path)):
            check_text(field, str(item))
            if isinstance(item, Path) or field in PATH_FLAGS:
                check_path(field, str(item))


def check_text(what: str, text: str) -> None:
    """Raise UserError for text with a NUL or with half of a character (bytes that are not UTF-8)."""
    if "\0" in text:
        raise UserError(f"{what}='{shorten(text)}': it holds a NUL character; allowed: text without it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{what}='{shorten(text)}': not UTF-8; give it as UTF-8, or rename the file") from error


def check_path(what: str, text: str) -> None:
    """Raise UserError for a path that no file system takes."""
    longest = max((len(part.encode()) for part in text.split("/")), default=0)
    if longest > NAME_BYTES or len(text.encode()) > PATH_BYTES:
        limit = f"{NAME_BYTES} bytes a name and {PATH_BYTES} a path"
        raise UserError(f"{what}='{shorten(text)}': the path is too long; allowed: {limit}")


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
