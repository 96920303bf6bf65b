"""Write the GLUE-shaped data of preset quick: nine tasks as tab-separated files.

Run `python -m scripts.embedded.generate --out DIR`; the same seed gives the same bytes.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from scripts.embedded import inference_tasks, similarity_tasks, single_tasks
from suites.embedded.rows import DEV_ROWS, TRAIN_ROWS, Maker, Row, draw_distinct_rows, draw_sst2

TASKS: dict[str, Maker] = {
    "cola": single_tasks.draw_cola,
    "sst2": draw_sst2,
    "mrpc": similarity_tasks.draw_mrpc,
    "stsb": similarity_tasks.draw_stsb,
    "qqp": similarity_tasks.draw_qqp,
    "mnli": inference_tasks.draw_mnli,
    "qnli": inference_tasks.draw_qnli,
    "rte": inference_tasks.draw_rte,
    "wnli": inference_tasks.draw_wnli,
}


def draw_task_splits(task: str, seed: int) -> dict[str, list[Row]]:
    """All splits of a task; each task has its own random stream."""
    rng = random.Random(f"{task}-{seed}")
    # Shared by all splits, so that no dev row occurs in train.
    seen_rows: set[Row] = set()
    make = TASKS[task]
    splits = {"train": draw_distinct_rows(make, rng, TRAIN_ROWS, seen_rows)}
    if task != "mnli":
        return {**splits, "dev": draw_distinct_rows(make, rng, DEV_ROWS, seen_rows)}
    splits["dev_matched"] = draw_distinct_rows(make, rng, DEV_ROWS, seen_rows)
    splits["dev_mismatched"] = draw_distinct_rows(inference_tasks.draw_mnli_mismatched, rng, DEV_ROWS, seen_rows)
    return splits


def write_rows(path: Path, rows: list[Row]) -> None:
    """One tab-separated file with its header; newlines are the same on every system."""
    header = ("text", "label") if len(rows[0]) == 2 else ("text_a", "text_b", "label")
    lines = ["\t".join(row) for row in [header, *rows]]
    path.parent.mkdir(parents=True, exist_ok=True)
    # Bytes and not text, so that Windows writes the same file.
    path.write_bytes(("\n".join(lines) + "\n").encode())


def main() -> None:
    """Write all tasks under DIR/glue."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for task in TASKS:
        for split, rows in draw_task_splits(task, options.seed).items():
            write_rows(options.out / "glue" / task / f"{split}.tsv", rows)


if __name__ == "__main__":
    main()
