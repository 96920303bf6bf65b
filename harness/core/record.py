"""What came of a cell, and what a solo profile measured: the files under cells/ and profiles/."""

from __future__ import annotations

from collections.abc import Hashable
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from harness.core.cell import Cell, Precision, Recompute

SCHEMA_VERSION = 1
Status = Literal["ok", "failed", "oom", "cancelled"]


class Strict(BaseModel):
    # A score that is no number is stored as such: as null its record would not read.
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")


class Stored(Strict):
    """A JSON file of its own, with its digest as the last member (see harness/core/files.py)."""

    sha256: str | None = Field(
        default=None,
        exclude=True,
        description="of all that stands before it in the file, white space apart; null in files of earlier versions",
    )


class Predictions(Strict):
    """The side file of per-example predictions: example id, split, target, prediction, logits; no data text."""

    path: str = Field(description="file name beside the record: KEY.parquet")
    sha256: str
    rows: int


class AdapterInfo(Strict):
    """The trained adapter with its head, in a folder that peft loads."""

    path: str = Field(description="folder below that of the run: adapters/KEY")
    sha256: str = Field(description="of its adapter_model.safetensors")


class Parameters(Strict):
    """Counts of numbers, not bytes. The head is counted apart from the adapter."""

    adapter_trained: int
    adapter_frozen: int = Field(description="stored by the adapter, not trained")
    head_trained: int
    backbone: int = Field(description="parameters of the backbone, trained or not")
    backbone_trained: int = Field(description="backbone parameters that train (full fine-tuning)")


class TrainState(Strict):
    """Bytes of the tensors that training keeps: this cell's own, and the backbone that its pack shares."""

    weights: int
    gradients: int
    optimizer: int = Field(description="both AdamW moments, and the projectors of a projected gradient")
    frozen: int | None = Field(
        default=None, description="the adapter's entries that do not train, and the map of those that do"
    )
    backbone: int | None = Field(default=None, description="the backbone's weights as they are stored")
    quantization: int | None = Field(default=None, description="scales and tables of the backbone's quantization")


class Phases(Strict):
    """Seconds of this cell's pack, by phase; shared by all cells of the pack."""

    load: float = Field(description="backbone weights into memory")
    input: float = Field(description="reading, rendering and tokenising rows")
    attach: float
    train: float
    capture: float = Field(default=0.0, description="CUDA graphs of the step, one a shape; not in train")
    evaluate: float


Chosen = Literal["asked", "memory", "knee"]
Timings = list[tuple[int, float]]


class PackInfo(Strict):
    """The pack the cell trained in. Scores are good from a pack; memory and speed are taken from profiles only."""

    keys: list[str] = Field(description="cell keys in slot order")
    slot: int
    size: int
    threads: int
    chosen: Chosen | None = Field(
        default=None,
        description="what bounds packs of its kind: --pack, memory and a fixed most, or the knee of timed steps; "
        "null for a cell that can share with no other",
    )
    timings: Timings = Field(default_factory=list, description="(replicas, seconds of a step) that K was chosen by")


class Environment(Strict):
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
        """The GPU, or the processor where there was none."""
        return self.gpu or self.cpu


class AverageInfo(Strict):
    """A named average of the suite, so that a report needs no suite code."""

    tasks: list[str] = Field(description="tasks that a full average covers")
    score: float | None = Field(description="this task's headline score in points; null if not in the average")
    metrics: list[str] | None = Field(
        default=None, description="metrics of this task whose mean is the score; null in records of earlier versions"
    )


class Truncation(Strict):
    """Rows longer than max_length, by split; tokens beyond it were cut."""

    rows: dict[str, int]
    total: dict[str, int]


def _drop_digest(extra: dict[str, Any]) -> dict[str, Any]:
    """The digest is of a file: a changed copy of its record must not keep it."""
    extra.pop("sha256", None)
    return extra


def _check_time(text: str) -> str:
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError("expected a time with its offset from UTC, e.g. 2026-01-01T00:00:00+00:00")
    return text


Time = Annotated[str, AfterValidator(_check_time)]


class Record(Strict):
    """What came of one cell. A failure is a record too, with its reason."""

    schema_version: int = SCHEMA_VERSION
    key: str
    status: Status
    reason: str | None = Field(default=None, description="why there is no score; null when ok")
    traceback: str | None = None
    cell: Cell
    scores: dict[str, float] = Field(default_factory=dict, description="official metrics in points, 0 to 100")
    averages: dict[str, AverageInfo] = Field(default_factory=dict)
    majority: float | None = Field(default=None, description="points of the best constant prediction; null if none")
    stand_in: bool = Field(description="true when model and data are the generated stand-ins: no evidence on real data")
    data_source: str = ""
    data_notes: list[str] = Field(default_factory=list, description="what is partial or derived in the data")
    rows: dict[str, int] = Field(default_factory=dict, description="rows used, by split")
    truncation: Truncation | None = None
    predictions: Predictions | None = None
    adapter: AdapterInfo | None = Field(default=None, description="null if not asked for or peft has no form")
    loss_curve: list[tuple[int, float]] = Field(default_factory=list, description="(step, mean training loss since)")
    steps: int | None = None
    parameters: Parameters | None = None
    train_state: TrainState | None = None
    phases: Phases | None = None
    pack: PackInfo | None = None
    environment: Environment | None = None
    started: Time = Field(description="UTC, ISO 8601")
    finished: Time
    extra: Annotated[dict[str, Any], AfterValidator(_drop_digest)] = Field(
        default_factory=dict,
        description="what methods and suites add; in the file it ends with the sha256 of all before it",
    )


class SharedParts:
    """Lets many records have their equal parts as one object: a store of thousands then fits in memory."""

    RECORD = ("environment", "parameters", "train_state", "phases")
    CELL = ("protocol", "model", "initial")

    def __init__(self) -> None:
        self._parts: dict[Hashable, Any] = {}

    def share(self, record: Record) -> Record:
        """The same record; parts that equal those of an earlier one are that one's."""
        for owner, names in ((record, self.RECORD), (record.cell, self.CELL)):
            for name in names:
                owner.__dict__[name] = self._reuse_equal(owner.__dict__[name])
            for strings in (name for name, value in owner.__dict__.items() if isinstance(value, str)):
                owner.__dict__[strings] = self._reuse_equal(owner.__dict__[strings])
            fields = self._parts.setdefault(frozenset(owner.model_fields_set), owner.model_fields_set)
            object.__setattr__(owner, "__pydantic_fields_set__", fields)
        for average in record.averages.values():
            average.__dict__["tasks"] = self._parts.setdefault(("tasks", *average.tasks), average.tasks)
        record.__dict__["data_notes"] = self._parts.setdefault(("notes", *record.data_notes), record.data_notes)
        return record

    def _reuse_equal(self, value: Any) -> Any:
        """The first value that equals this one."""
        # pydantic's own hash and comparison take several times as long as those of a tuple
        content = tuple(vars(value).values()) if isinstance(value, BaseModel) else value
        return self._parts.setdefault((type(value), content), value)


class Run(Stored):
    """What was asked, so that a report can be made from the folder alone: run.json."""

    command: str
    title: str
    order: list[str] = Field(description="keys of the run's cells, in the order of the report")
    dropped: list[str] = Field(description="a line for each combination that was left out")
    margin: float | None = Field(default=None, description="points within which methods count as equivalent")
    margin_late: bool = Field(default=False, description="whether the margin was named when there were results")


Edge = Literal["lowest", "highest", "only"]


class Trial(Strict):
    """Values that were tried, and how they scored on the validation part; a trial that failed is one too."""

    values: dict[str, int | float] = Field(description="the learning rate, and options that the method lets be tuned")
    keys: list[str] = Field(description="its cells under tuning/cells, one a task")
    score: float | None = Field(description="headline score in points, the mean over tasks; null if one has none")
    reason: str | None = Field(default=None, description="why there is no score")
    steps: int
    seconds: float = Field(description="its share of its packs' time")


class Tuned(Strict):
    """What tuning found for one method, on one task or over several."""

    suite: str
    tasks: list[str] = Field(description="whose validation parts it was tuned on")
    method: str = Field(description="as it is written on the command line, before tuning")
    ranges: dict[str, tuple[float, float]]
    trials: list[Trial] = Field(description="the first has the declared values")
    best: int | None = Field(description="number of the trial that was chosen, from 0; null if none has a score")
    edges: dict[str, Edge] = Field(description="what of the chosen values is the lowest or highest tried")


class TunedMethods(Stored):
    """All that tuning found: tuning/tuned.json."""

    methods: list[Tuned]


class MemoryShares(Strict):
    """Bytes at the peak of a training step, by what they are for."""

    weights: int
    quantization: int = Field(description="scales and tables beside quantized weights")
    adapters: int = Field(description="adapter and head, trained or not")
    gradients: int = Field(description="those there at the peak; full and galore create theirs late in a step")
    optimizer: int
    activations: int = Field(description="what the forward pass keeps for the backward pass")
    rest: int = Field(description="the peak less all the others")

    @property
    def total(self) -> int:
        return sum(getattr(self, name) for name in type(self).model_fields)


class PhaseMemory(Strict):
    """Peak bytes within one phase; null where the machine does not say."""

    phase: Literal["load", "first step", "steady step", "evaluation", "generation"]
    allocated: int | None = Field(default=None, description="CUDA allocator, in tensors")
    reserved: int | None = Field(default=None, description="CUDA allocator, taken from the device")
    rss: int = Field(description="resident memory of the process at its peak")
    device: int | None = Field(default=None, description="used on the whole GPU by NVML, at the end of the phase")


class Profile(Stored):
    """Memory and throughput of one (method, model, batch shape), measured alone in a process of its own."""

    schema_version: int = SCHEMA_VERSION
    key: str
    status: Status
    reason: str | None = None
    suite: str
    method: str = Field(description="the method as it is written on the command line")
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
    peak_bytes: int | None = Field(default=None, description="see peak_kind")
    peak_kind: Literal["cuda allocated", "rss above loaded backbone"]
    step_seconds: list[float] = Field(default_factory=list, description="raw samples, one per timed step")
    samples_per_second: float | None = None
    train_state: TrainState | None = None
    shares: MemoryShares | None = Field(default=None, description="bytes of one step's tensors, by what they are for")
    phases: list[PhaseMemory] = Field(default_factory=list, description="memory by phase; of the `profile` verb")
    blocks: list[float] = Field(default_factory=list, description="samples/s of each repeat")
    step_percentiles: tuple[float, float, float] | None = Field(default=None, description="seconds: p10, p50, p90")
    rows: Literal["full length", "real lengths"] | None = Field(default=None, description="of the batches of `blocks`")
    tokens_per_second: float | None = Field(default=None, description="tokens of real rows, padding apart")
    padding: float | None = Field(default=None, description="share of positions that is padding")
    flops: int | None = Field(default=None, description="of a step's matrix products, forward and backward")
    launches: int | None = Field(default=None, description="operations of a step, views apart")
    ceiling_flops: float | None = Field(default=None, description="FLOP/s of a large matrix product in this process")
    ceiling_share: float | None = Field(default=None, description="FLOP/s of a step over those")
    joules_per_1000: float | None = Field(default=None, description="energy of the GPU for 1,000 samples")
    shared_with: list[int] = Field(default_factory=list, description="other processes seen on the GPU")
    environment: Environment | None = None
    measured: str = Field(description="UTC, ISO 8601")
