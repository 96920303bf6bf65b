"""Write the quick preset's data: nine GLUE-shaped tasks as tab-separated files.

Run `python -m suites.embedded.generate --out DIR`; the same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable
from pathlib import Path

from suites.embedded import inference_tasks, similarity_tasks, single_tasks
from suites.embedded.single_tasks import Row

TRAIN_ROWS = 640
DEV_ROWS = 480

Maker = Callable[[random.Random], Row]

TASKS: dict[str, Maker] = {
    "cola": single_tasks.cola,
    "sst2": single_tasks.sst2,
    "mrpc": similarity_tasks.mrpc,
    "stsb": similarity_tasks.stsb,
    "qqp": similarity_tasks.qqp,
    "mnli": inference_tasks.mnli,
    "qnli": inference_tasks.qnli,
    "rte": inference_tasks.rte,
    "wnli": inference_tasks.wnli,
}


def distinct_rows(make: Maker, rng: random.Random, count: int, seen: set[Row]) -> list[Row]:
    """Draw rows whose text has not been seen, and remember them."""
    rows: list[Row] = []
    while len(rows) < count:
        row = make(rng)
        if row[:-1] not in seen:
            seen.add(row[:-1])
            rows.append(row)
    return rows


def task_splits(task: str, seed: int) -> dict[str, list[Row]]:
    """All splits of a task; each task has a random stream of its own."""
    rng = random.Random(f"{task}-{seed}")
    seen: set[Row] = set()
    make = TASKS[task]
    splits = {"train": distinct_rows(make, rng, TRAIN_ROWS, seen)}
    if task != "mnli":
        return {**splits, "dev": distinct_rows(make, rng, DEV_ROWS, seen)}
    splits["dev_matched"] = distinct_rows(make, rng, DEV_ROWS, seen)
    splits["dev_mismatched"] = distinct_rows(inference_tasks.mnli_mismatched, rng, DEV_ROWS, seen)
    return splits


def write_rows(path: Path, rows: list[Row]) -> None:
    """One tab-separated file with its header; newlines are the same on every system."""
    header = ("text", "label") if len(rows[0]) == 2 else ("text_a", "text_b", "label")
    lines = ["\t".join(row) for row in [header, *rows]]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(("\n".join(lines) + "\n").encode())


def main() -> None:
    """Write all tasks under DIR/glue."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for task in TASKS:
        for split, rows in task_splits(task, options.seed).items():
            write_rows(options.out / "glue" / task / f"{split}.tsv", rows)


if __name__ == "__main__":
    main()
