"""What the user asked for, from flags or a TOML file."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from harness.core.cell import LIMITS, Precision, Recompute, check_warmup
from harness.core.errors import UserError, build_unknown_error, shorten
from harness.core.file_names import make_file_name
from harness.core.looks import DEFAULT_MARGIN, is_auto
from harness.core.method import SUITES
from harness.core.primary import DEFAULT_COLLAPSE_MARGIN, parse_primary
from harness.core.quantization import QUANTIZATIONS, describe_quantizations
from harness.core.registry import load_all, load_package
from harness.core.slurm_options import parse_slurm
from harness.core.suite_options import split_option

REPORT_FIELDS = frozenset({"formats", "figures", "published", "tensorboard"})
"""Fields of what is written beside the records."""
DECLARED_FIELDS = frozenset({"primary", "collapse_margin"})
"""Fields of the question; a report of stored results takes them too, and flags them as post hoc."""
MACHINE_FIELDS = (
    frozenset(
        "device devices executor address slurm threads pack cache retry out profile save_adapters sharpness margin log "
        "max_hours max_cells max_cost price".split()
    )
    | REPORT_FIELDS
    | DECLARED_FIELDS
)
"""Fields that change no result: not in the name of the output folder."""
RUNS = Path("results/runs")
"""Folder of the runs whose folder the user does not name, relative to the working directory."""
PATH_FLAGS = frozenset({"out", "data-dir", "plugin", "model", "init-from"})
"""Flags whose text is a path."""
MAX_BUDGET = 1e9
"""More hours, cells or money than any run has."""
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


def _split_values(value: Any) -> Any:
    """'1e-3,2e-3', 1e-3 or [1e-3, 2e-3] -> values, each once; None -> no value."""
    if value is None:
        return ()
    values = (value,) if isinstance(value, (int, float)) and not isinstance(value, bool) else _split_words(value)
    if not isinstance(values, tuple):
        return values
    # an empty shell variable is refused like any other text that is no value; only an absent flag means the default
    return tuple(dict.fromkeys(values)) or (() if isinstance(value, (list, tuple)) and not value else ("",))


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


class Spec(BaseModel):
    """One run. Each field is a flag of `run` and a key of the TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    suite: Annotated[tuple[str, ...], Words] = Field(
        default=("glue",), min_length=1, description="comma-separated suites; default: glue"
    )
    tasks: Annotated[tuple[str, ...], Words] = Field(
        default=(), description="comma-separated tasks; default: all tasks of the suites"
    )
    methods: str = Field(
        default="lora,lorasp",
        description=(
            "comma-separated methods with options; A|B tries both values: lora,lorasp:ratio=0.25|0.5;"
            " default: lora,lorasp"
        ),
    )
    seeds: Annotated[str, BeforeValidator(_format_integer)] = Field(
        default="5",
        description=(
            "number of seeds, the same for all methods so that comparisons are paired; or seeds of named random"
            " streams (init=0,mask=0..9); or both (5,length=0); or auto (auto:5..100): adds seeds until each primary"
            " comparison is decided at --margin; default: 5"
        ),
    )
    preset: str = Field(
        default="quick",
        description=(
            "quick (tiny model, synthetic stand-in data, offline), small (MiniLM) or paper (roberta-base and"
            " others): sets model, data and training budget; default: quick"
        ),
    )
    protocol: Literal["default", "paper"] = Field(
        default="default",
        description=(
            "default: learning rates declared by each method; paper: learning rate 2e-5 and 3 epochs"
            " (arXiv 2403.08822); default: default"
        ),
    )
    tune: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description=(
            "number of tuning trials per method and task; searches the learning rate and other tunable options,"
            " scored on a validation part held out of the train rows; default: no tuning"
        ),
    )
    tune_tasks: Annotated[tuple[str, ...], Words] = Field(
        default=(),
        description=(
            "comma-separated tasks to tune on; the values with the best mean score are used for all tasks;"
            " default: each task is tuned separately"
        ),
    )
    tune_seeds: int = Field(
        default=1, ge=1, le=1000, description="seeds per tuning trial; a trial's score is their mean; default: 1"
    )
    model: tuple[str, ...] = Field(
        default=(),
        description=(
            "backbone: a model folder or hub id, for all suites or as SUITE=PATH (repeatable);"
            " default: that of the preset"
        ),
    )
    data_dir: Path | None = Field(
        default=None,
        description=(
            "folder with the official data files of a suite, or its parent; default: the preset's source"
            " (quick: synthetic stand-in data; small, paper: the hub)"
        ),
    )
    data_file: tuple[str, ...] = Field(
        default=(),
        description=(
            "TASK/SPLIT=PATH: file to use in place of the official one; SUITE/train=SRC,TGT: sentence pairs;"
            " a path alone: a table (suite table); repeatable"
        ),
    )
    option: tuple[str, ...] = Field(
        default=(), description="NAME=VALUE: an option of a suite; `suites show NAME` lists those of a suite"
    )
    lr: Annotated[tuple[Rate, ...], Axis] = Field(
        default=(),
        description=(
            "peak learning rate of every method, comma-separated to try several, as the next flags with [,...] are;"
            " default: the rate that each method declares for the preset"
        ),
    )
    epochs: Annotated[tuple[Epochs, ...], Axis] = Field(
        default=(), description="passes over the training rows; default: 3 (preset quick: 10)"
    )
    max_steps: Annotated[tuple[Steps, ...], Axis] = Field(
        default=(),
        description=(
            "most optimizer steps; training ends earlier if the epochs do;"
            " default: no limit (preset quick: 150; wmt16, mmlu: 200; xnli: 300)"
        ),
    )
    batch_size: Annotated[tuple[BatchSize, ...], Axis] = Field(
        default=(),
        description="rows per optimizer step; default: 32 (preset quick: 16; preset paper with mmlu: 128)",
    )
    max_length: int | None = Field(
        default=None,
        ge=4,
        le=LIMITS["max_length"],
        description=(
            "most tokens per row; longer rows are truncated and counted;"
            " default: 128 (preset quick: 32; wmt16: 64, mmlu: 96; preset paper with mmlu: 512)"
        ),
    )
    group_by_length: bool | None = Field(
        default=None,
        description=(
            "length-bucketed batches, for less padding; a pack then holds one length seed"
            " (--seeds 8,length=0: the same for all seeds); default: off"
        ),
    )
    schedule: Annotated[tuple[str, ...], Axis] = Field(
        default=(),
        description="learning-rate schedule after the warm-up: linear, constant or cosine; default: linear",
    )
    warmup: Annotated[tuple[Warmup, ...], Axis] = Field(
        default=(),
        description="linear warm-up: a share of the steps (0.06) or a number of steps (100); default: 0.06",
    )
    weight_decay: Annotated[tuple[Decay, ...], Axis] = Field(
        default=(), description="weight decay, of no biases and norms; default: 0.01"
    )
    optimizer: Annotated[tuple[str, ...], Axis] = Field(
        default=(),
        description=(
            "optimizer: adamw, sgd, or of bitsandbytes adamw_8bit, paged_adamw_32bit, paged_adamw_8bit (names of"
            " transformers); default: adamw"
        ),
    )
    momentum: float | None = Field(default=None, ge=0, lt=1, description="momentum of sgd; default: 0")
    label_smoothing: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="label smoothing of the cross-entropy; default: 0 (preset paper with wmt16: 0.2)",
    )
    validation: bool = Field(
        default=False,
        description=(
            "hold out a validation part of the train rows (a fifth, at most 1,000 rows) and score each run on it too,"
            " for choices that must not see the eval splits; default: off"
        ),
    )
    train_rows: int | None = Field(
        default=None, ge=1, le=LIMITS["train_rows"], description="most training rows per task; default: all"
    )
    eval_rows: int | None = Field(
        default=None,
        ge=1,
        le=LIMITS["eval_rows"],
        description="most rows per eval split (mmlu: per subject); default: all (preset quick with wmt16: 200)",
    )
    dtype: Annotated[tuple[Precision, ...], Words] = Field(
        default=("fp32",),
        min_length=1,
        description="precision of the frozen backbone: fp32, bf16, or both separated by a comma; default: fp32",
    )
    quantize: Annotated[tuple[str, ...], Words] = Field(
        default=("none",),
        min_length=1,
        description="quantization of the frozen backbone: " + describe_quantizations() + "; default: none",
    )
    recompute: Annotated[tuple[Recompute, ...], Words] = Field(
        default=("none",),
        min_length=1,
        description="activation checkpointing, comma-separated to try several: none, selective, full; default: none",
    )
    init_from: str | None = Field(
        default=None,
        min_length=1,
        description=(
            "adapter to start from: a folder that peft saved, a file of microsoft/LoRA (FILE:alpha=16),"
            " or a run that saved its adapters (RUN:TASK, same method and seeds); default: a fresh adapter"
        ),
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto (a GPU if there is one), cpu or cuda; default: auto"
    )
    pack: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description=(
            "most cells that train together in one pack over a shared backbone; 1: one cell at a time;"
            " default: as many as fit in memory and still save time"
        ),
    )
    devices: str | None = Field(
        default=None,
        min_length=1,
        description=(
            "devices that train packs at the same time, each with a worker process: numbers of GPUs such as 0,1,3,"
            " gpu:4 for the first four, or cpu:4 for four workers on the CPU; default: every visible GPU"
        ),
    )
    executor: str = Field(
        default="local",
        description=(
            "where packs train: local (the devices of this machine), ray (a Ray cluster), slurm (jobs of a cluster) or"
            " a plugin's; default: local"
        ),
    )
    address: str | None = Field(
        default=None,
        min_length=1,
        description=(
            "Ray cluster to join with --executor ray: HOST:PORT, or auto on one of its nodes; default: RAY_ADDRESS,"
            " otherwise a Ray of this machine is started for the run"
        ),
    )
    slurm: str | None = Field(
        default=None,
        description=(
            "with --executor slurm, what each job asks for: partition=gpu,time=02:00:00,gpus=1,cpus=8,mem=32G,... (keys"
            " of sbatch and of docs/slurm.md); default: 1 GPU and 1 hour on the default partition"
        ),
    )
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="number of CPU threads; default: all available cores"
    )
    max_hours: float | None = Field(
        default=None,
        gt=0,
        le=MAX_BUDGET,
        description=(
            "hours after which the run stops: no further pack starts, and packs that train write a checkpoint;"
            " the same command continues; default: no limit"
        ),
    )
    max_cells: int | None = Field(
        default=None, ge=1, le=MAX_BUDGET, description="most cells that the command trains; default: all"
    )
    max_cost: float | None = Field(
        default=None,
        gt=0,
        le=MAX_BUDGET,
        description="cost at which the run stops as after --max-hours: device hours times --price; default: no limit",
    )
    price: float | None = Field(
        default=None,
        gt=0,
        le=MAX_BUDGET,
        description="price of a device for an hour, in the unit of --max-cost; `plan` shows the cost; default: none",
    )
    out: Path | None = Field(
        default=None,
        description=(
            "output folder; the same command with the same folder resumes;"
            " default: results/runs/SUITE-PRESET-HASH, the same for the same settings"
        ),
    )
    profile: bool = Field(
        default=True, description="profile memory and speed of each method in isolation, after training; default: on"
    )
    save_adapters: bool = Field(
        default=False,
        description=(
            "save each adapter with its head in peft's format as OUT/adapters/KEY; finished cells without a"
            " saved adapter train again; default: off"
        ),
    )
    sharpness: bool = Field(
        default=False,
        description=(
            "measure the sharpness of the training loss (largest eigenvalue of its Hessian) of each cell before and"
            " after training, in fp32 only; finished cells without it train again; default: off"
        ),
    )
    margin: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description=(
            "equivalence margin in points (scores are 0 to 100); set it before the run, for a later one is"
            f" flagged as post hoc; default: no test of equivalence (with --seeds auto: {DEFAULT_MARGIN:g})"
        ),
    )
    primary: str | None = Field(
        default=None,
        description=(
            'the comparisons that answer your question, as in "lorasp vs lora, lorasp vs lora:rank=8": only these are'
            " corrected together (Holm), on the suite's average; declare them before the run, for later ones are"
            " flagged as post hoc; default: every method against the first"
        ),
    )
    collapse_margin: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description=(
            "a run that ends at most this many points above the majority baseline has collapsed, on a task that some"
            f" method learned; default: {DEFAULT_COLLAPSE_MARGIN:g}"
        ),
    )
    cache: bool = Field(
        default=True,
        description="cache tokenised rows and the memory estimates of `plan` in ~/.cache/lorasp-harness; default: on",
    )
    retry: bool = Field(default=False, description="run failed and out-of-memory cells again; default: off")
    formats: Annotated[tuple[str, ...], Words] = Field(
        default=("md", "html", "csv"),
        min_length=1,
        description="comma-separated formats of the report: md, html, latex, readme-table, csv, parquet; "
        "default: md,html,csv",
    )
    figures: Annotated[tuple[str, ...], Words] = Field(
        default=("png", "svg"),
        description="comma-separated file formats of the figures: png, svg, pdf (adds NAME-column, 3.3 inches wide); "
        "default: png,svg",
    )
    published: bool = Field(
        default=False, description="add a separate table of published results to the report; default: off"
    )
    tensorboard: bool = Field(
        default=False, description="write losses and scores as TensorBoard event files; default: off"
    )
    log: Annotated[tuple[str, ...], Words] = Field(
        default=(),
        description=(
            "comma-separated experiment trackers that get the finished cells of `run`: wandb, mlflow, trackio; they"
            " stay on this machine unless the tracker's own environment variables name a server; default: none"
        ),
    )
    plugin: tuple[Path, ...] = Field(
        default=(), description="Python file that registers methods, strategies, suites and more (repeatable)"
    )

    @model_validator(mode="before")
    @classmethod
    def _take_device_of_workers(cls, fields: Any) -> Any:
        """Workers on the CPU mean --device cpu for whatever the run does itself, such as profiles."""
        devices = fields.get("devices") if isinstance(fields, dict) else None
        if isinstance(devices, str) and devices.startswith("cpu:") and fields.get("device", "auto") == "auto":
            return fields | {"device": "cpu"}
        return fields

    @model_validator(mode="before")
    @classmethod
    def _declare_margin(cls, fields: Any) -> Any:
        """An automatic run decides on equivalence too, so its margin is declared even where none is given."""
        if isinstance(fields, dict) and is_auto(fields.get("seeds")) and fields.get("margin") is None:
            return fields | {"margin": DEFAULT_MARGIN}
        return fields

    @model_validator(mode="after")
    def _check_slurm_is_used(self) -> Self:
        """Raise UserError for options of Slurm where packs train elsewhere."""
        if self.slurm is not None and self.executor == "local":
            raise UserError(f"--slurm {shorten(self.slurm)}: packs train on this machine; add --executor slurm")
        return self

    @model_validator(mode="after")
    def _check_price(self) -> Self:
        """Raise UserError for a cost without a price."""
        if self.max_cost is not None and self.price is None:
            raise UserError(f"--max-cost {self.max_cost:g}: what does a device cost for an hour? give --price too")
        return self

    @model_validator(mode="after")
    def _check_quantize(self) -> Self:
        """Raise UserError for a type that neither the harness nor a plugin registers."""
        if any(name not in QUANTIZATIONS for name in self.quantize):
            load_package("harness.models.quantization")
        # plugins last: the run loads them later, and a file that is edited in between would be another plugin
        if any(name not in QUANTIZATIONS for name in self.quantize):
            load_all(self.plugin)
        for name in self.quantize:
            QUANTIZATIONS.get(name)
        return self

    @field_validator("slurm")
    @classmethod
    def _check_slurm(cls, value: str | None) -> str | None:
        """Raise UserError for malformed options."""
        if value is not None:
            parse_slurm(value)
        return value

    @field_validator("primary")
    @classmethod
    def _check_primary(cls, value: str | None) -> str | None:
        """Raise UserError for a text that names no comparisons."""
        if value is not None:
            parse_primary(value)
        return value

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
        return RUNS / f"{name}-{digest}"


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
