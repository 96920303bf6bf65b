"""Write the folder of a run with made-up records, to measure what many cells cost. Nothing is trained.

    python scripts/large_store.py FOLDER [--methods 20] [--seeds 500] [--rows 0] [--change 0]

The cells are those that `python -m harness run` plans with the flags of the folder's run.json, so the command that the
script prints resumes the folder. With `--rows` each cell has predictions of so many examples. `--change` shifts the
scores, for a second folder to compare with the first.
"""

from __future__ import annotations

import argparse
import hashlib
import shlex
from pathlib import Path

import numpy as np
import pandas as pd

from harness.core.device import choose_threads
from harness.core.provenance import describe_environment
from harness.core.record import Environment, PackInfo, Parameters, Phases, Predictions, Record, TrainState
from harness.core.registry import load_all
from harness.core.spec import make_spec
from harness.core.store import Store
from harness.core.stored_files import encode_parquet, to_json
from harness.planning.plan import make_plan
from harness.planning.planned_cell import PlannedCell
from harness.runner.declared import format_title
from harness.runner.recorder import describe_averages

SUITES, TASKS = "glue,wmt16", "cola,mnli,mrpc,qnli,qqp,rte,sst2,stsb,en-ro,ro-en"
"""Ten tasks that need no files, with two kinds of scores: one per cell, and several."""
DISTINCT_FILES = 50
"""Different files of predictions per task: encoding one for each cell would take minutes."""


def list_methods(count: int) -> str:
    """Half of `lora`, half of `lorasp`, at as many ranks: 'lora:rank=1,lorasp:rank=1,...'."""
    return ",".join(f"{('lora', 'lorasp')[number % 2]}:rank={number // 2 + 1}" for number in range(count))


def build_record(planned: PlannedCell, score: float, environment: Environment, number: int) -> Record:
    """A record as a run writes it, with a score made up."""
    suite, task = planned.suite, planned.task
    scores = {name: score - place for place, name in enumerate(task.metrics)}
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
        loss_curve=[(step, round(2.0 / step + score / 100, 4)) for step in range(1, 49, 4)],
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


def encode_predictions(rows: int, rng: np.random.Generator) -> list[bytes]:
    """Some files of predictions for the same examples of one task."""
    targets = rng.integers(0, 2, rows).astype(float)
    names = [f"validation/{i}" for i in range(rows)]
    contents = []
    for _ in range(DISTINCT_FILES):
        predictions = np.where(rng.random(rows) < 0.8, targets, 1 - targets)
        frame = pd.DataFrame({"id": names, "split": "validation", "target": targets, "prediction": predictions})
        contents.append(encode_parquet(frame))
    return contents


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--rows", type=int, default=0)
    parser.add_argument("--change", type=float, default=0.0)
    given = parser.parse_args()
    flags = {"suite": SUITES, "tasks": TASKS, "methods": list_methods(given.methods), "seeds": str(given.seeds)}
    flags["device"] = "cpu"
    words = ["python", "-m", "harness", "run", *(w for k, v in flags.items() for w in (f"--{k}", v)), "--no-profile"]
    command = shlex.join([*words, "--out", str(given.folder)])
    load_all()
    spec = make_spec({**flags, "out": given.folder, "profile": False})
    plan, store, rng = make_plan(spec), Store(given.folder), np.random.default_rng(0)
    store.prepare()
    environment = describe_environment("cpu", choose_threads(1))
    sides: dict[str, list[bytes]] = {}
    for number, planned in enumerate(plan.cells):
        method = int(planned.cell.options.get("rank", 0))
        record = build_record(planned, float(rng.normal(70 + method / 5, 1.5)) + given.change, environment, number)
        if given.rows:
            contents = sides.setdefault(planned.cell.task, []) or encode_predictions(given.rows, rng)
            sides[planned.cell.task] = contents
            content = contents[number % len(contents)]
            path = store.cells / f"{record.key}.parquet"
            path.write_bytes(content)
            side = Predictions(path=path.name, sha256=hashlib.sha256(content).hexdigest(), rows=given.rows)
            record = record.model_copy(update={"predictions": side})
        # not by Store.write, which waits for the disk after each file
        (store.cells / f"{record.key}.json").write_bytes(to_json(record))
    store.write_run(command, format_title(plan, spec), [c.key for c in plan.cells], plan.dropped)
    print(f"{len(plan.cells)} cells")
    print(command)


if __name__ == "__main__":
    main()
