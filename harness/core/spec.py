"""What the user asks for. `spec_reading.make_spec` makes one from flags and a TOML file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from harness.core.errors import UserError, shorten
from harness.core.file_names import make_file_name
from harness.core.looks import DEFAULT_MARGIN, is_auto
from harness.core.primary import DEFAULT_COLLAPSE_MARGIN
from harness.core.quantization import QUANTIZATIONS
from harness.core.registry import load_all, load_package
from harness.core.spec_training import TrainingFields
from harness.core.spec_types import MAX_BUDGET, Folder, PrimaryComparisons, SlurmOptions, Words

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


class Spec(TrainingFields):
    """One run. Each field is a flag of `run` and a key of the TOML file.

    The fields of `TrainingFields` come first; those here say where the run trains and what it writes.
    """

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
    slurm: SlurmOptions = Field(
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
    out: Folder = Field(
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
    primary: PrimaryComparisons = Field(
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

    @property
    def folder(self) -> Path:
        """Where the results go: the same for the same question."""
        if self.out is not None:
            return self.out
        content = self.model_dump_json(exclude=set(MACHINE_FIELDS))
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        name = make_file_name(f"{'-'.join(self.suite)}-{self.preset}")
        return RUNS / f"{name}-{digest}"
