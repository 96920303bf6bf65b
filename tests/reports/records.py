"""Made-up records for the tests of reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from harness.core.cell import Cell, ModelRef
from harness.core.method import METHODS, Method
from harness.core.profile import Profile
from harness.core.protocol import Protocol
from harness.core.record import AverageInfo, Environment, Parameters, Record, TrainState
from harness.core.seeds import equal
from harness.core.store import Store

TASKS = ("cola", "rte")
EIGHT = ("cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb")
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


def restore_method(made: Cell) -> Method:
    """The method of a cell with its options."""
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in made.options.items()}
    return METHODS.get(made.method)(**options)


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


def many(methods: int = 25, seeds: int = 10, tasks: Sequence[str] = TASKS) -> list[Record]:
    """methods x tasks x seeds records, 2,000 by default with eight tasks; each method a little better than the last."""
    rng = np.random.default_rng(0)
    made = []
    for task, number, seed in product(tasks, range(methods), range(seeds)):
        own = cell(task, "lorasp", seed, options={"rank": number + 1})
        curve = [(step, float(2 / step + rng.random() / 10)) for step in range(1, 41)]
        counts = Parameters(
            adapter_trained=1000 * (number + 1), adapter_frozen=0, head_trained=130, backbone=9999, backbone_trained=0
        )
        score = float(rng.normal(70 + number / 5, 1.5))
        made.append(record(score, own, tasks, loss_curve=curve, parameters=counts))
    return made


def store_of(folder: Path, records: Sequence[Record], profiles: Sequence[Profile] = ()) -> Path:
    """A run's folder that holds the records, as `run` leaves it."""
    store = Store(folder)
    store.prepare()
    for made in records:
        (store.cells / f"{made.key}.json").write_text(made.model_dump_json(indent=1))
    for own in profiles:
        store.write_profile(own)
    store.write_run("python -m harness run", "glue: made up", [r.key for r in records], [])
    return folder
