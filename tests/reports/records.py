"""Made-up records for the tests of reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.cell import Cell, ModelRef, Protocol
from harness.record import AverageInfo, Environment, Parameters, Profile, Record, TrainState
from harness.seeds import equal

TASKS = ("cola", "rte")
ENVIRONMENT = Environment(
    python="3.11",
    torch="2.13",
    transformers="5.23",
    numpy="2",
    harness="0.1",
    commit=None,
    platform="Linux",
    cpu="a processor",
    threads=2,
    device="cpu",
)


def cell(task: str = "cola", method: str = "lora", seed: int = 0, **fields: Any) -> Cell:
    protocol = Protocol.model_validate({"lr": 1e-3} | fields.pop("protocol", {}))
    start: dict[str, Any] = {
        "suite": "glue",
        "suite_version": 1,
        "task": task,
        "method": method,
        "method_version": 1,
        "preset": "quick",
        "model": ModelRef(name="model", revision="a" * 64),
        "data": f"rows of {task}",
        "protocol": protocol,
        "seeds": equal(seed),
    }
    return Cell.model_validate(start | fields)


def record(score: float | None, made: Cell | None = None, tasks: Sequence[str] = TASKS, **fields: Any) -> Record:
    """A record whose headline and only metric is `score`; None makes it a failed one."""
    made = made or cell()
    start: dict[str, Any] = {
        "key": made.key,
        "status": "failed" if score is None else "ok",
        "reason": "ValueError: on purpose" if score is None else None,
        "cell": made,
        "scores": {} if score is None else {"accuracy": score},
        "averages": {"glue": AverageInfo(tasks=list(tasks), score=score if made.task in tasks else None)},
        "majority": 50.0,
        "stand_in": False,
        "data_source": "official files",
        "parameters": Parameters(
            adapter_trained=1024, adapter_frozen=0, head_trained=130, backbone=9999, backbone_trained=0
        ),
        "train_state": TrainState(weights=4616, gradients=4616, optimizer=9232),
        "loss_curve": [(1, 0.7), (2, 0.5)],
        "environment": ENVIRONMENT,
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T00:01:00+00:00",
    }
    return Record.model_validate(start | fields)


def grid_of(scores: Mapping[tuple[str, str], Sequence[float | None]], tasks: Sequence[str] = TASKS) -> list[Record]:
    """{(task, method): scores of seed 0, 1, ...} -> records."""
    return [
        record(score, cell(task, method, seed), tasks)
        for (task, method), values in scores.items()
        for seed, score in enumerate(values)
    ]


def profile(method: str = "lora", seconds: Sequence[float] = (0.1, 0.2, 0.3), **fields: Any) -> Profile:
    start: dict[str, Any] = {
        "key": f"profile {method}",
        "status": "ok",
        "suite": "glue",
        "method": method,
        "model": "model",
        "model_revision": "a" * 64,
        "device": "cpu",
        "batch_size": 16,
        "length": 128,
        "warmup_steps": 5,
        "timed_steps": len(seconds),
        "peak_bytes": 3 * 2**20,
        "peak_kind": "rss above loaded backbone",
        "step_seconds": list(seconds),
        "samples_per_second": 16 / sorted(seconds)[len(seconds) // 2],
        "measured": "2026-01-01T00:02:00+00:00",
    }
    return Profile.model_validate(start | fields)
