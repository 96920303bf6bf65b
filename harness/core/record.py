"""The record of a cell, as it is stored.

OUT/cells/KEY.json        Record         one cell: scores, costs, provenance
OUT/profiles/KEY.json     Profile        memory and speed of one method in isolation (profile.py)
OUT/run.json              Run            the command, and the cells that it asked for (run_info.py)
OUT/tuning/tuned.json     TunedMethods   results of tuning (tuned.py)
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from harness.core.cell import Cell
from harness.core.strict import Strict

SCHEMA_VERSION = 1
Status = Literal["ok", "failed", "oom", "cancelled"]


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
