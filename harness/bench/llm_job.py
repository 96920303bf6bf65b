"""One measurement of the bench `llm`: what a process is asked for, and what it answers."""

from __future__ import annotations

import dataclasses

OURS = "ours"
"""The name of our trainer among the subjects."""


@dataclasses.dataclass(frozen=True)
class LlmJob:
    """One subject at one size; `warmup` untimed steps, in which it compiles or captures, come before `repeats` timed.

    LoRA of `rank` on all linear layers of the shape's blocks, alpha equal to the rank.
    """

    subject: str
    shape: str
    batch: int
    length: int
    rank: int
    dropout: float
    dtype: str
    warmup: int
    repeats: int
    device: str
    threads: int | None

    @property
    def steps(self) -> int:
        return self.warmup + self.repeats


@dataclasses.dataclass(frozen=True)
class LlmMeasurement:
    """Seconds of each timed step, waited for; losses of all steps; bytes at the peak.

    `peak` is that of the timed steps, and of all steps where a captured graph is replayed, since a replay allocates
    nothing. `failure` says why there are no figures, `fallback` why our steps ran without a CUDA graph.
    """

    seconds: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    peak: int | None = None
    peak_of_all_steps: int | None = None
    fallback: str | None = None
    failure: str | None = None
