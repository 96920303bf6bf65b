"""The stored results: records of cells, profiles of methods, results of tuning. All are JSON files.

OUT/cells/KEY.json        Record     one cell: scores, costs, provenance
OUT/profiles/KEY.json     Profile    memory and speed of one method in isolation
OUT/run.json              Run        the command, and the cells that it asked for
OUT/tuning/tuned.json     TunedMethods
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, Field

from harness.core.cell import Cell, Precision, Recompute
from harness.core.looks import Look
from harness.core.primary import DEFAULT_COLLAPSE_MARGIN
from harness.core.strict import Strict

SCHEMA_VERSION = 1
Status = Literal["ok", "failed", "oom", "cancelled"]


class Stored(Strict):
    """A JSON file with its digest as the last member (see harness/core/files.py)."""

    sha256: str | None = Field(
        default=None,
        exclude=True,
        description="sha256 of everything before it in the file, white space excluded; null in older files",
    )


class Predictions(Strict):
    """The file of per-example predictions beside a record: example id, split, target, prediction, logits; no text."""

    path: str = Field(description="file name beside the record: KEY.parquet")
    sha256: str
    rows: int


class AdapterInfo(Strict):
    """The saved adapter with its head, in a folder that peft can load."""

    path: str = Field(description="folder in the run's folder: adapters/KEY")
    sha256: str = Field(description="sha256 of its adapter_model.safetensors")


class Parameters(Strict):
    """Numbers of parameters, not bytes. The adapter's exclude the head."""

    adapter_trained: int = Field(description="trainable parameters of the adapter, head excluded")
    adapter_frozen: int = Field(description="frozen parameters of the adapter")
    head_trained: int = Field(description="trainable parameters of the head")
    backbone: int = Field(description="parameters of the backbone, trained or not")
    backbone_trained: int = Field(description="trainable parameters of the backbone (full fine-tuning)")


class TrainState(Strict):
    """Bytes of the tensors that live throughout training: those of this cell, and the backbone that its pack shares."""

    weights: int = Field(description="bytes of the trainable weights, head included")
    gradients: int = Field(description="bytes of their gradients")
    optimizer: int = Field(
        description="bytes of the optimizer's state (AdamW: both moments), projectors of gradients included"
    )
    frozen: int | None = Field(
        default=None, description="bytes of the adapter's frozen entries, and of the map of the trainable ones"
    )
    backbone: int | None = Field(default=None, description="bytes of the backbone's weights as stored in memory")
    quantization: int | None = Field(
        default=None, description="bytes of scales and tables of the backbone's quantization"
    )


class Phases(Strict):
    """Seconds of each phase of this cell's pack; the same for all cells of the pack."""

    load: float = Field(description="seconds to load the backbone's weights into memory")
    input: float = Field(description="seconds to read, render and tokenise rows")
    attach: float = Field(description="seconds to attach the adapters")
    train: float = Field(description="seconds of all optimizer steps")
    capture: float = Field(
        default=0.0, description="seconds to capture CUDA graphs of the step, one per shape; not part of train"
    )
    evaluate: float = Field(description="seconds of evaluation")


Chosen = Literal["asked", "memory", "knee"]
Timings = list[tuple[int, float]]


class PackInfo(Strict):
    """The pack in which a cell trained.

    Scores from a pack are valid; memory and speed come from profiles only, for cells of a pack share both.
    """

    keys: list[str] = Field(description="keys of the pack's cells in slot order")
    slot: int = Field(description="position of this cell in the pack, from 0")
    size: int = Field(description="number of cells in the pack (K)")
    threads: int = Field(description="number of CPU threads")
    chosen: Chosen | None = Field(
        default=None,
        description="what limits the pack size: asked (--pack), memory (memory, or the fixed maximum), or knee (the "
        "size beyond which timed steps gain nothing); null for a cell that cannot share a pack",
    )
    timings: Timings = Field(
        default_factory=list, description="(pack size, seconds per step) pairs from which the size was chosen"
    )


class Environment(Strict):
    """Package versions and the machine of a result."""

    python: str
    torch: str
    transformers: str
    numpy: str
    harness: str
    commit: str | None = Field(description="git commit of the harness, '+dirty' added, null outside a checkout")
    platform: str
    cpu: str
    threads: int
    device: str
    gpu: str | None = None

    @property
    def machine(self) -> str:
        """The name of the GPU, or that of the processor without one."""
        return self.gpu or self.cpu


class AverageInfo(Strict):
    """This cell's part in a named average of its suite, stored so that a report needs no suite code."""

    tasks: list[str] = Field(description="tasks that a full average covers")
    score: float | None = Field(description="this task's headline score in points; null if not in the average")
    metrics: list[str] | None = Field(
        default=None, description="metrics of this task whose mean is the score; null in records of earlier versions"
    )


class Forgetting(Strict):
    """Loss on a text that no run trains on, before and after fine-tuning: mean over its tokens, in nats per token."""

    text: str = Field(description="name of the text")
    sha256: str = Field(description="sha256 of the text")
    tokens: int = Field(description="number of predicted tokens")
    unknown_tokens: int = Field(description="number of tokens of the text that the tokenizer does not know")
    before: float = Field(description="loss of the backbone, without any adapter")
    after: float = Field(description="loss after fine-tuning")

    @property
    def change(self) -> float:
        """Loss after fine-tuning less the loss before; above 0 something is forgotten."""
        return self.after - self.before


class TopEigenvalue(Strict):
    """The largest eigenvalue of a Hessian, by the Lanczos method on differences of gradients."""

    eigenvalue: float = Field(description="largest eigenvalue of the Hessian of the mean training loss")
    lowest: float = Field(description="lowest Ritz value: the lowest eigenvalue lies at or below it")
    iterations: int = Field(description="products of the Hessian with a vector")
    change: float | None = Field(description="relative change of the eigenvalue in the last iteration; null after one")
    residual: float = Field(description="norm of H y - eigenvalue y for its unit vector y, relative to the eigenvalue")
    step_change: float = Field(description="relative change of y H y when the difference step is twice as long")
    asymmetry: float = Field(description="largest difference of two entries of H that symmetry makes equal, relative")


class Sharpness(Strict):
    """Sharpness of the training loss before and after training, on rows that are the same for all methods and seeds.

    An eigenvalue is null for parameters that the method does not have, where the loss is not finite, and where its
    residual, asymmetry or change with the step is above 2 %.
    """

    rows: int = Field(description="number of training rows")
    before: TopEigenvalue | None = Field(description="at initialization, in the trainable parameters, head excluded")
    after: TopEigenvalue | None = Field(description="after training, in the trainable parameters, head excluded")
    before_with_head: TopEigenvalue | None = Field(description="at initialization, in all trainable parameters")
    after_with_head: TopEigenvalue | None = Field(description="after training, in all trainable parameters")


class Truncation(Strict):
    """Rows longer than max_length, whose tokens beyond it were truncated."""

    rows: dict[str, int] = Field(description="number of truncated rows, by split")
    total: dict[str, int] = Field(description="number of all rows, by split")


def _drop_digest(extra: dict[str, Any]) -> dict[str, Any]:
    """`extra` without the digest."""
    # the digest belongs to one file: a changed copy of its record must not carry it
    extra.pop("sha256", None)
    return extra


def _check_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("expected a time with its offset from UTC, e.g. 2026-01-01T00:00:00+00:00")
    return text


Time = Annotated[str, AfterValidator(_check_time)]


class Record(Strict):
    """The result of one cell. A failed cell has a record too, with the reason."""

    schema_version: int = SCHEMA_VERSION
    key: str = Field(description="content key of the cell, 16 hex digits; also the file's name")
    status: Status
    reason: str | None = Field(default=None, description="why there is no score; null when ok")
    traceback: str | None = Field(default=None, description="traceback of a failure; null when ok")
    cell: Cell = Field(description="what was trained")
    scores: dict[str, float] = Field(default_factory=dict, description="official metrics in points, 0 to 100")
    averages: dict[str, AverageInfo] = Field(default_factory=dict)
    majority: float | None = Field(default=None, description="majority baseline in points; null if there is none")
    stand_in: bool = Field(description="true for synthetic stand-in data and model: no evidence on real data")
    data_source: str = Field(default="", description="where the rows come from")
    data_notes: list[str] = Field(default_factory=list, description="notes on partial or derived data")
    rows: dict[str, int] = Field(default_factory=dict, description="number of rows used, by split")
    truncation: Truncation | None = None
    predictions: Predictions | None = None
    adapter: AdapterInfo | None = Field(default=None, description="null if not saved")
    loss_curve: list[tuple[int, float]] = Field(
        default_factory=list, description="(step, mean training loss since the previous point)"
    )
    steps: int | None = Field(default=None, description="optimizer steps taken")
    parameters: Parameters | None = None
    train_state: TrainState | None = None
    phases: Phases | None = None
    pack: PackInfo | None = None
    environment: Environment | None = None
    forgetting: Forgetting | None = Field(
        default=None, description="loss on the forgetting text; null where the suite has none, and in older records"
    )
    sharpness: Sharpness | None = Field(default=None, description="null without --sharpness, and in older records")
    started: Time = Field(description="UTC, ISO 8601")
    finished: Time
    extra: Annotated[dict[str, Any], AfterValidator(_drop_digest)] = Field(
        default_factory=dict,
        description="fields that methods and suites add; in the file it ends with the sha256 of everything before it",
    )


class SharedParts:
    """Lets records share equal parts as one object, so that a store of thousands of records fits in memory."""

    RECORD = ("environment", "parameters", "train_state", "phases")
    CELL = ("protocol", "model", "initial")

    def __init__(self) -> None:
        self._parts: dict[Hashable, Any] = {}

    def share(self, record: Record) -> Record:
        """The same record, with each part replaced by an equal part of an earlier record."""
        # through __dict__, because the models are frozen; the values stay equal, so nobody can tell
        for owner, names in ((record, self.RECORD), (record.cell, self.CELL)):
            for name in names:
                owner.__dict__[name] = self._reuse_equal(owner.__dict__[name])
            for name, value in owner.__dict__.items():
                if isinstance(value, str):
                    owner.__dict__[name] = self._reuse_equal(value)
            fields = self._parts.setdefault(frozenset(owner.model_fields_set), owner.model_fields_set)
            object.__setattr__(owner, "__pydantic_fields_set__", fields)
        self._share_tasks(record.averages)
        record.__dict__["data_notes"] = self._parts.setdefault(("notes", *record.data_notes), record.data_notes)
        return record

    def share_values(self, field: str, values: list[Any]) -> list[Any]:
        """The values of one field of several records or cells, each replaced by an equal one of an earlier record."""
        if field == "averages":
            for averages in values:
                self._share_tasks(averages)
        if field == "data_notes":
            return [self._parts.setdefault(("notes", *notes), notes) for notes in values]
        is_shared = field in (*self.RECORD, *self.CELL)
        return [self._reuse_equal(value) if is_shared or isinstance(value, str) else value for value in values]

    def _share_tasks(self, averages: dict[str, AverageInfo]) -> None:
        for average in averages.values():
            average.__dict__["tasks"] = self._parts.setdefault(("tasks", *average.tasks), average.tasks)

    def _reuse_equal(self, value: Any) -> Any:
        """The first value seen that equals this one."""
        # as a tuple: pydantic's own hash and comparison take several times as long
        content = tuple(vars(value).values()) if isinstance(value, BaseModel) else value
        return self._parts.setdefault((type(value), content), value)


class Run(Stored):
    """run.json: what the command asked for, so that a report can be written from the folder alone."""

    command: str = Field(description="command line that started the run")
    title: str = Field(description="title of the report")
    order: list[str] = Field(description="keys of the run's cells, in the order of the report")
    dropped: list[str] = Field(description="one line for each combination that was left out")
    margin: float | None = Field(default=None, description="equivalence margin in points; null: no equivalence test")
    margin_late: bool = Field(default=False, description="whether the margin is post hoc: set when results existed")
    primary: str | None = Field(
        default=None, description="declared primary comparisons; null: every method against the first"
    )
    primary_late: bool = Field(default=False, description="whether the primary comparisons are post hoc")
    collapse_margin: float = Field(
        default=DEFAULT_COLLAPSE_MARGIN,
        description="points above the majority baseline up to which a run counts as collapsed",
    )
    collapse_margin_late: bool = Field(default=False, description="whether the margin of collapses is post hoc")
    auto: str | None = Field(
        default=None, description="range of an automatic number of seeds: auto:5..100; null: fixed"
    )
    auto_late: bool = Field(default=False, description="whether the range is post hoc: set when results existed")
    looks: list[Look] = Field(default_factory=list, description="looks of an automatic number of seeds so far")
    stopped: str = Field(default="", description="why an automatic run added no more seeds; empty: it was interrupted")
    timeline: dict[str, float] = Field(
        default_factory=dict,
        description="seconds from the start of the last command's process to: imported, planned, first pack, first "
        "step, last record, profiled, reported; a part that it did not have is absent, all after an interrupt",
    )


Edge = Literal["lowest", "highest", "only"]


class Trial(Strict):
    """One trial of tuning, failed or not: the values tried, and their score on the validation part."""

    values: dict[str, int | float] = Field(description="the learning rate, and the method's tunable options")
    keys: list[str] = Field(description="keys of its cells under tuning/cells, one per task")
    score: float | None = Field(description="headline score in points, mean over tasks; null if a task has no score")
    reason: str | None = Field(default=None, description="why there is no score")
    steps: int = Field(description="optimizer steps")
    seconds: float = Field(description="its share of the time of its packs")


class Tuned(Strict):
    """The result of tuning one method, on one task or on several together."""

    suite: str
    tasks: list[str] = Field(description="tasks on whose validation parts it was tuned")
    method: str = Field(description="the method as written on the command line, before tuning")
    ranges: dict[str, tuple[float, float]] = Field(description="searched range of each value, both ends included")
    trials: list[Trial] = Field(description="all trials; the first has the declared values")
    best: int | None = Field(description="index of the chosen trial, from 0; null if none has a score")
    edges: dict[str, Edge] = Field(
        description="chosen values that are the lowest or highest tried: the best value may lie beyond"
    )


class TunedMethods(Stored):
    """tuning/tuned.json: the results of tuning all methods of a run."""

    methods: list[Tuned]


class MemoryShares(Strict):
    """Bytes at the memory peak of a training step, by category."""

    weights: int = Field(description="bytes of the backbone's weights")
    quantization: int = Field(description="bytes of scales and tables of quantized weights")
    adapters: int = Field(description="bytes of adapter and head, trainable or frozen")
    gradients: int = Field(description="bytes of gradients at the peak; full and galore create theirs late in a step")
    optimizer: int = Field(description="bytes of the optimizer state")
    activations: int = Field(description="bytes of activations saved for the backward pass")
    rest: int = Field(description="bytes of the peak less all other categories")

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        return sum(getattr(self, name) for name in type(self).model_fields)


class PhaseMemory(Strict):
    """Peak memory in bytes within one phase; null if the machine does not report it."""

    phase: Literal["load", "first step", "steady step", "evaluation", "generation"]
    allocated: int | None = Field(default=None, description="bytes in tensors, by the CUDA allocator")
    reserved: int | None = Field(default=None, description="bytes taken from the device by the CUDA allocator")
    rss: int = Field(description="peak resident memory of the process in bytes")
    device: int | None = Field(default=None, description="bytes used on the whole GPU at the end of the phase, by NVML")


class MachineLoad(Strict):
    """How busy the machine was while a profile was taken; null where the system does not report it."""

    before: float | None = Field(
        description="load average of the last minute per processor when the profile began; a run's own training, which "
        "ends just before, is part of it"
    )
    after: float | None = Field(description="load average of the last minute per processor when it ended")
    others: float | None = Field(
        description="share of the processors' time that other processes used meanwhile, 0 to 1"
    )


class Profile(Stored):
    """Memory and throughput of one (method, model, batch shape), profiled in isolation in a separate process."""

    schema_version: int = SCHEMA_VERSION
    key: str
    status: Status
    reason: str | None = None
    suite: str
    method: str = Field(description="the method as written on the command line")
    model: str
    model_revision: str
    dtype: Precision = "fp32"
    quantize: str = "none"
    recompute: Recompute = "none"
    device: str
    batch_size: int
    length: int = Field(description="tokens per row of the timed batches")
    warmup_steps: int
    timed_steps: int
    peak_bytes: int | None = Field(default=None, description="peak memory in bytes, as defined by peak_kind")
    peak_kind: Literal["cuda allocated", "rss above loaded backbone"]
    step_seconds: list[float] = Field(default_factory=list, description="raw samples in seconds, one per timed step")
    samples_per_second: float | None = None
    train_state: TrainState | None = None
    shares: MemoryShares | None = Field(default=None, description="bytes of one step by category")
    phases: list[PhaseMemory] = Field(
        default_factory=list, description="memory by phase; from the command `profile` only"
    )
    blocks: list[float] = Field(default_factory=list, description="samples/s of each block of timed steps")
    step_percentiles: tuple[float, float, float] | None = Field(
        default=None, description="seconds per step: 10th, 50th and 90th percentile"
    )
    rows: Literal["full length", "real lengths"] | None = Field(
        default=None, description="rows of the batches of `blocks`: all at full length, or at their real lengths"
    )
    tokens_per_second: float | None = Field(default=None, description="tokens/s of real rows, padding excluded")
    padding: float | None = Field(default=None, description="fraction of positions that are padding, 0 to 1")
    flops: int | None = Field(default=None, description="FLOPs of a step's matrix products, forward and backward")
    launches: int | None = Field(default=None, description="number of operations in a step, views excluded")
    ceiling_flops: float | None = Field(default=None, description="FLOP/s of a large matrix product in this process")
    ceiling_share: float | None = Field(default=None, description="FLOP/s of a step over ceiling_flops, 0 to 1")
    joules_per_1000: float | None = Field(default=None, description="energy of the GPU for 1,000 samples, in joules")
    shared_with: list[int] = Field(
        default_factory=list, description="other processes seen on the GPU when the profile began or ended"
    )
    load: MachineLoad | None = Field(
        default=None, description="load of the machine; null in profiles of earlier versions"
    )
    environment: Environment | None = None
    measured: str = Field(description="UTC, ISO 8601")
