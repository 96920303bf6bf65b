"""The specification of one run, from flags or a TOML file. The descriptions below are the help texts of `run`."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from harness.core.cell import LIMITS, Precision, Quantize, Recompute, Template
from harness.core.errors import UserError, build_unknown_error, shorten
from harness.core.file_names import make_file_name

REPORT_FIELDS = frozenset({"formats", "figures", "published", "tensorboard"})
"""Fields that change only the report and other files beside the records."""
MACHINE_FIELDS = (
    frozenset({"device", "pack", "threads", "out", "profile", "retry", "save_adapters", "margin", "cache"})
    | REPORT_FIELDS
)
"""Fields that change no result, so they are not part of the name of the output folder."""
PATH_FLAGS = frozenset({"out", "data-dir", "plugin", "model", "init-from"})
"""Flags whose value is, or may be, a path."""
NAME_BYTES, PATH_BYTES = 255, 4000
"""Longest name and path, in bytes: the usual limits are 255 and 4,096, and a run adds names to the path."""


def _split_words(value: Any) -> Any:
    """The words of 'a,b' or ['a,b', 'c']; other values are returned as they are, for pydantic to refuse."""
    texts = [value] if isinstance(value, str) else value
    if isinstance(texts, (list, tuple)) and all(isinstance(p, str) for p in texts):
        return tuple(word for part in texts for word in part.split(",") if word)
    return value


def _format_integer(value: Any) -> Any:
    """A whole number as text, for `seeds = 5` in a TOML file; other values as they are."""
    # Python refuses to write integers of more than 4,300 digits; bool is a subclass of int
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 10**100 else f"{shorten(value)}"
    return value


Words = BeforeValidator(_split_words)


class Spec(BaseModel):
    """One run. Each field is a flag of `run` and a key of the TOML file.

    A field that is None leaves the value to the preset, the method or the machine; its description says which.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    suite: Annotated[tuple[str, ...], Words] = Field(
        default=("glue",), min_length=1, description="comma-separated suites; default: glue"
    )
    tasks: Annotated[tuple[str, ...], Words] = Field(
        default=(), description="comma-separated tasks; default: all tasks of the suites"
    )
    methods: str = Field(
        default="lora,lorasp",
        description="comma-separated methods with options; A|B tries both values: lora,lorasp:ratio=0.25|0.5;"
        " default: lora,lorasp",
    )
    seeds: Annotated[str, BeforeValidator(_format_integer)] = Field(
        default="5",
        description="number of seeds, the same for all methods so that comparisons are paired; or seeds of named random"
        " streams (init=0,mask=0..9); or both (5,length=0); default: 5",
    )
    preset: str = Field(
        default="quick",
        description="quick (tiny model, synthetic stand-in data, offline), small (MiniLM) or paper (roberta-base and"
        " others): sets model, data and training budget; default: quick",
    )
    protocol: Literal["default", "paper"] = Field(
        default="default",
        description="default: learning rates declared by each method; paper: learning rate 2e-5 and 3 epochs"
        " (arXiv 2403.08822); default: default",
    )
    tune: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="number of tuning trials per method and task; searches the learning rate and other tunable options,"
        " scored on a validation part held out of the train rows; default: no tuning",
    )
    tune_tasks: Annotated[tuple[str, ...], Words] = Field(
        default=(),
        description="comma-separated tasks to tune on; the values with the best mean score are used for all tasks;"
        " default: each task is tuned separately",
    )
    tune_seeds: int = Field(
        default=1, ge=1, le=1000, description="seeds per tuning trial; a trial's score is their mean; default: 1"
    )
    model: tuple[str, ...] = Field(
        default=(),
        description="backbone: a model folder or hub id, for all suites or as SUITE=PATH (repeatable);"
        " default: that of the preset",
    )
    data_dir: Path | None = Field(
        default=None,
        description="folder with the official data files of a suite, or its parent; default: the preset's source"
        " (quick: synthetic stand-in data; small, paper: the hub)",
    )
    data_file: tuple[str, ...] = Field(
        default=(),
        description="TASK/SPLIT=PATH: file to use in place of the official one; SUITE/train=SRC,TGT: sentence pairs;"
        " a path alone: a table (suite table); repeatable",
    )
    text: str | None = Field(default=None, description="names of the text columns, joined by + (suite table)")
    label: str | None = Field(default=None, description="name of the label column (suite table)")
    labels: Literal["class", "number"] | None = Field(
        default=None,
        description="class: labels are classes (classification); number: labels are real numbers (regression);"
        " default: detected from the file (suite table)",
    )
    lr: float | None = Field(
        default=None,
        gt=0,
        le=LIMITS["lr"],
        description="peak learning rate of every method; default: the rate that each method declares for the preset",
    )
    epochs: float | None = Field(
        default=None,
        gt=0,
        le=LIMITS["epochs"],
        description="passes over the training rows; default: 3 (preset quick: 10)",
    )
    max_steps: int | None = Field(
        default=None,
        ge=1,
        le=LIMITS["max_steps"],
        description="most optimizer steps; training ends earlier if the epochs do;"
        " default: no limit (preset quick: 150; wmt16, mmlu: 200; xnli: 300)",
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=LIMITS["batch_size"],
        description="rows per optimizer step; default: 32 (preset quick: 16; preset paper with mmlu: 128)",
    )
    max_length: int | None = Field(
        default=None,
        ge=4,
        le=LIMITS["max_length"],
        description="most tokens per row; longer rows are truncated and counted;"
        " default: 128 (preset quick: 32; wmt16: 64, mmlu: 96; preset paper with mmlu: 512)",
    )
    group_by_length: bool | None = Field(
        default=None,
        description="length-bucketed batches, for less padding; a pack then holds one length seed"
        " (--seeds 8,length=0: the same for all seeds); default: off",
    )
    label_smoothing: float | None = Field(
        default=None,
        ge=0,
        lt=1,
        description="label smoothing of the cross-entropy; default: 0 (preset paper with wmt16: 0.2)",
    )
    max_target_length: int | None = Field(
        default=None,
        ge=2,
        le=LIMITS["max_target_length"],
        description="most tokens of a target or generated text; default: 128 (preset quick with wmt16: 64)",
    )
    beams: int | None = Field(
        default=None,
        ge=1,
        le=LIMITS["beams"],
        description="beam width of generation; 1: greedy decoding; default: 1 (preset paper with wmt16: 5)",
    )
    shots: int | None = Field(
        default=None,
        ge=0,
        le=LIMITS["shots"],
        description="few-shot examples before each question (mmlu); default: 0",
    )
    template: Template | None = Field(
        default=None, description="prompt template of an instruction (mmlu); default: alpaca (preset quick: plain)"
    )
    packed: bool | None = Field(
        default=None,
        description="sequence packing: several instructions in one row of max-length tokens (mmlu); default: off",
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
    quantize: Annotated[tuple[Quantize, ...], Words] = Field(
        default=("none",),
        min_length=1,
        description="comma-separated quantization types of the frozen backbone: none, int8, fp4, nf4, nf4-dq, and the"
        " simulated sim2, sim3, sim6 (scores only, no memory or speed); default: none",
    )
    recompute: Annotated[tuple[Recompute, ...], Words] = Field(
        default=("none",),
        min_length=1,
        description="activation checkpointing, comma-separated to try several: none, selective, full; default: none",
    )
    init_from: str | None = Field(
        default=None,
        min_length=1,
        description="adapter to start from: a folder that peft saved, a file of microsoft/LoRA (FILE:alpha=16),"
        " or a run that saved its adapters (RUN:TASK, same method and seeds); default: a fresh adapter",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto (a GPU if there is one), cpu or cuda; default: auto"
    )
    pack: int | None = Field(
        default=None,
        ge=1,
        le=100_000,
        description="most cells that train together in one pack over a shared backbone; 1: one cell at a time;"
        " default: as many as fit in memory and still save time",
    )
    threads: int | None = Field(
        default=None, ge=1, le=1024, description="number of CPU threads; default: all available cores"
    )
    out: Path | None = Field(
        default=None,
        description="output folder; the same command with the same folder resumes;"
        " default: results/runs/SUITE-PRESET-HASH, the same for the same settings",
    )
    profile: bool = Field(
        default=True,
        description="profile memory and speed of each method in isolation, after training; default: on",
    )
    save_adapters: bool = Field(
        default=False,
        description="save each adapter with its head in peft's format as OUT/adapters/KEY; finished cells without a"
        " saved adapter train again; default: off",
    )
    margin: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="equivalence margin in points (scores are 0 to 100); set it before the run, for a later one is"
        " flagged as post hoc; default: no test of equivalence",
    )
    cache: bool = Field(
        default=True,
        description="cache tokenised rows and the memory estimates of `plan` in ~/.cache/lorasp-harness; default: on",
    )
    retry: bool = Field(default=False, description="run failed and out-of-memory cells again; default: off")
    formats: Annotated[tuple[str, ...], Words] = Field(
        default=("md", "html", "csv"),
        min_length=1,
        description="comma-separated formats of the report: md, html, latex, csv, parquet; default: md,html,csv",
    )
    figures: Annotated[tuple[str, ...], Words] = Field(
        default=("png", "svg"),
        description="comma-separated file formats of the figures: png, svg, pdf; default: png,svg",
    )
    published: bool = Field(
        default=False, description="add a separate table of published results to the report; default: off"
    )
    tensorboard: bool = Field(
        default=False, description="write losses and scores as TensorBoard event files; default: off"
    )
    plugin: tuple[Path, ...] = Field(
        default=(), description="Python file that registers methods, strategies or suites (repeatable)"
    )

    @field_validator("out", "data_dir", mode="before")
    @classmethod
    def _check_folder_name(cls, value: Any) -> Any:
        """The value, unless it is blank text."""
        # Path('') is the current folder: an empty shell variable would fill it with results
        if isinstance(value, str) and not value.strip():
            raise PydanticCustomError("blank", "no folder is named; give one, '.' for the current")
        return value

    @property
    def folder(self) -> Path:
        """The output folder; without --out, the same for the same settings, so that the same command resumes."""
        if self.out is not None:
            return self.out
        content = self.model_dump_json(exclude=set(MACHINE_FIELDS))
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        name = make_file_name(f"{'-'.join(self.suite)}-{self.preset}")
        return Path("results/runs") / f"{name}-{digest}"


def make_spec(flags: dict[str, Any], file: Path | None = None) -> Spec:
    """The spec from the given flags and a TOML file; flags win. Raises UserError naming the field."""
    content = read_toml(file) if file else {}
    for key in content:
        if key not in Spec.model_fields:
            raise build_unknown_error(f"key in {file}:", key, Spec.model_fields)
    for key, value in (content | flags).items():
        _check_texts(key.replace("_", "-"), value)
    try:
        return Spec.model_validate(content | flags)
    except ValidationError as error:
        # one line per mistake: the user corrects it and sees the next
        first = error.errors(include_url=False, include_context=False)[0]
        field = str(first["loc"][0])
        raise UserError(f"{field.replace('_', '-')}='{shorten(first['input'])}': {first['msg'].lower()}") from error


def _check_texts(field: str, value: Any) -> None:
    """Raise UserError for text that a path or a record cannot hold: NUL, invalid UTF-8, a name that is too long."""
    for item in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(item, (str, Path)):
            check_text(field, str(item))
            if isinstance(item, Path) or field in PATH_FLAGS:
                check_path(field, str(item))


def check_text(what: str, text: str) -> None:
    """Raise UserError for text with a NUL character or with bytes that are not UTF-8."""
    if "\0" in text:
        raise UserError(f"{what}='{shorten(text)}': it holds a NUL character; allowed: text without it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{what}='{shorten(text)}': not UTF-8; give it as UTF-8, or rename the file") from error


def check_path(what: str, text: str) -> None:
    """Raise UserError for a path or a name that is too long for a file system."""
    # limits are in bytes of UTF-8, not in characters
    longest = max((len(part.encode()) for part in text.split("/")), default=0)
    if longest > NAME_BYTES or len(text.encode()) > PATH_BYTES:
        limit = f"{NAME_BYTES} bytes a name and {PATH_BYTES} a path"
        raise UserError(f"{what}='{shorten(text)}': the path is too long; allowed: {limit}")


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file, with '-' in keys replaced by '_'. Raises UserError."""
    try:
        with path.open("rb") as stream:
            content = tomllib.load(stream)
    except OSError as error:
        raise UserError(f"--spec {path}: {error.strerror}; give a TOML file") from error
    except RecursionError as error:
        raise UserError(f"--spec {path}: nested too deeply; give keys and values, as in suite = 'glue'") from error
    except ValueError as error:
        # TOMLDecodeError, and those for bytes that are not UTF-8 and for integers of thousands of digits
        raise UserError(f"--spec {path}: not TOML: {error}") from error
    fields = {key.replace("-", "_"): value for key, value in content.items()}
    # batch-size and batch_size are one field: neither value may win silently
    if len(fields) < len(content):
        duplicate = next(key for key in content if "-" in key and key.replace("-", "_") in content)
        raise UserError(f"--spec {path}: '{duplicate}' is given twice, with '-' and with '_'; keep one")
    return fields
