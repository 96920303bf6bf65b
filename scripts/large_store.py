"""Write the folder of a run with made-up records, to measure what many cells cost. Nothing is trained.

    python scripts/large_store.py FOLDER [--methods 20] [--seeds 500] [--rows 0] [--change 0]
    python scripts/large_store.py FOLDER --suite glue --tasks cola,mrpc,rte,stsb --lr 1e-4,2e-4 --batch-size 16,32

The cells are those that `python -m harness run` plans with the flags of the folder's run.json, so the command that the
script prints resumes the folder. `--methods` is a number of ranks, half of `lora` and half of `lorasp`, or a text as
`run` takes it; with `--lr` and `--batch-size` each combination is one more method. With `--rows` each cell has
predictions of so many examples, which give the scores of a classification task with one eval split. `--change` shifts
the other scores and draws other predictions, for a second folder to compare with the first.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
from pathlib import Path

import numpy as np
import pandas as pd

from harness.core.device import choose_threads
from harness.core.metric import resolve_metric
from harness.core.provenance import describe_environment
from harness.core.record import Environment, PackInfo, Parameters, Phases, Predictions, Record, TrainState
from harness.core.registry import load_all
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.core.stored_files import encode_parquet, to_json
from harness.core.suite import Task
from harness.planning.plan import make_plan
from harness.planning.planned_cell import PlannedCell
from harness.runner.declared import format_title
from harness.runner.recorder import describe_averages

SUITES, TASKS = "glue,wmt16", "cola,mnli,mrpc,qnli,qqp,rte,sst2,stsb,en-ro,ro-en"
"""Ten tasks that need no files, with two kinds of scores: one per cell, and several."""
DISTINCT_FILES = 211
"""Different files of predictions per task: encoding one for each cell would take minutes. A prime number, so that two
methods have the same file for no seed.
"""


def list_methods(methods: str) -> str:
    """Of '20', half of `lora`, half of `lorasp`, at as many ranks: 'lora:rank=1,lorasp:rank=1,...'; else the text."""
    if not methods.isdecimal():
        return methods
    return ",".join(f"{('lora', 'lorasp')[number % 2]}:rank={number // 2 + 1}" for number in range(int(methods)))


def build_record(planned: PlannedCell, scores: dict[str, float], environment: Environment, number: int) -> Record:
    """A record as a run writes it, with these scores."""
    suite = planned.suite
    mean = sum(scores.values()) / len(scores)
    return Record(
        key=planned.key,
        status="ok",
        cell=planned.cell,
        scores=scores,
        averages=describe_averages(suite, planned.cell.task, scores),
        majority=50.0,
        stand_in=True,
        data_source="embedded",
        data_notes=["made up: scripts/large_store.py"],
        rows={"train": 256, "validation": 128},
        loss_curve=[(step, round(2.0 / step + mean / 100, 4)) for step in range(1, 49, 4)],
        steps=48,
        parameters=Parameters(
            adapter_trained=4096, adapter_frozen=0, head_trained=130, backbone=9999, backbone_trained=0
        ),
        train_state=TrainState(weights=16904, gradients=16904, optimizer=33808, frozen=0, backbone=39996),
        phases=Phases(load=0.01, input=0.2, attach=0.02, train=1.5 + number % 7 / 100, evaluate=0.1),
        pack=PackInfo(keys=[planned.key], slot=0, size=1, threads=1, chosen="memory"),
        environment=environment,
        started="2026-01-01T00:00:00+00:00",
        finished=f"2026-01-01T00:{number // 60 % 60:02}:{number % 60:02}+00:00",
    )


def encode_predictions(task: Task, rows: int, rng: np.random.Generator) -> list[tuple[bytes, dict[str, float]]]:
    """Some files of predictions for the same examples of one task, with the scores that they give, if any."""
    metrics = [resolve_metric(name, task.eval_splits)[0] for name in task.metrics]
    is_scored = len(task.eval_splits) == 1 and all(metric.reads != "texts" for metric in metrics)
    targets = rng.integers(0, len(task.labels), rows) if task.labels else rng.uniform(0, 5, rows)
    if task.kind == "translation":
        targets = np.array([f"sentence number {target:.4f}" for target in targets])
    split = task.eval_splits[0]
    files = []
    for number in range(DISTINCT_FILES):
        skill = 0.6 + 0.2 * number / DISTINCT_FILES
        if targets.dtype == float:
            predictions = skill * targets + rng.normal(0, 1, rows)
        else:
            predictions = np.where(rng.random(rows) < skill, targets, rng.permutation(targets))
        columns = {"split": split, "target": targets, "prediction": predictions}
        frame = pd.DataFrame({"id": [f"{split}/{row}" for row in range(rows)]} | columns)
        scores = [metric.score(predictions, targets) for metric in metrics] if is_scored else []
        files.append((encode_parquet(frame), dict(zip(task.metrics, scores, strict=False))))
    return files


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--suite", default=SUITES)
    parser.add_argument("--tasks", default=TASKS)
    parser.add_argument("--methods", default="20")
    parser.add_argument("--lr")
    parser.add_argument("--batch-size")
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--change", type=float, default=0.0)
    given = parser.parse_args()
    flags = {"suite": given.suite, "tasks": given.tasks, "methods": list_methods(given.methods)}
    flags |= {"seeds": str(given.seeds), "device": "cpu"}
    flags |= {name: value for name in ("lr", "batch_size") if (value := getattr(given, name))}
    options = [word for name, value in flags.items() for word in (f"--{name.replace('_', '-')}", value)]
    words = ["python", "-m", "harness", "run", *options, "--no-profile"]
    command = shlex.join([*words, "--out", str(given.folder)])
    load_all()
    spec = make_spec({**flags, "out": given.folder, "profile": False})
    plan, store, rng = make_plan(spec), Store(given.folder), np.random.default_rng(int(100 * given.change))
    store.prepare()
    environment = describe_environment("cpu", choose_threads(1))
    files: dict[str, list[tuple[bytes, dict[str, float]]]] = {}
    for number, planned in enumerate(plan.cells):
        method = int(planned.cell.options.get("rank", 0))
        score = float(rng.normal(70 + method / 5, 1.5)) + given.change
        scores = {name: score - place for place, name in enumerate(planned.task.metrics)}
        side = None
        if given.rows:
            if planned.cell.task not in files:
                files[planned.cell.task] = encode_predictions(planned.task, given.rows, rng)
            content, computed = files[planned.cell.task][number % DISTINCT_FILES]
            scores = computed or scores
            path = store.cells / f"{planned.key}.parquet"
            path.write_bytes(content)
            side = Predictions(path=path.name, sha256=hashlib.sha256(content).hexdigest(), rows=given.rows)
        record = build_record(planned, scores, environment, number).model_copy(update={"predictions": side})
        # not by Store.write, which waits for the disk after each file
        (store.cells / f"{record.key}.json").write_bytes(to_json(record))
    store.write_run(command, format_title(plan, spec), [c.key for c in plan.cells], plan.dropped)
    print(f"{len(plan.cells)} cells")
    print(command)


if __name__ == "__main__":
    main()
