"""Memory and speed of one method in isolation: OUT/profiles/KEY.json."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harness.core.cell import Precision, Recompute
from harness.core.record import SCHEMA_VERSION, Environment, Status, TrainState
from harness.core.strict import Stored, Strict


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
