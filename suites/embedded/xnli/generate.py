"""Write the XNLI-shaped data: English train rows and one dev file a language, in the XTREME layout.

Run `python -m suites.embedded.xnli.generate --out DIR`; the same seed gives the same bytes. A file has no header;
its columns are premise, hypothesis, label. The dev files are translations of the same rows, line by line.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from suites.embedded import inference_tasks
from suites.embedded.generate import distinct_rows
from suites.embedded.single_tasks import Row
from suites.embedded.xnli.languages import CODES
from suites.embedded.xnli.orders import translated

TRAIN_ROWS = 640
DEV_ROWS = 150
LABELS = ("entailment", "neutral", "contradiction")


def rows_of(seed: int) -> tuple[list[Row], list[Row]]:
    """English train and dev rows; no dev row is a train row."""
    rng = random.Random(f"xnli-{seed}")
    seen: set[Row] = set()
    train = distinct_rows(inference_tasks.mnli, rng, TRAIN_ROWS, seen)
    return train, distinct_rows(inference_tasks.mnli, rng, DEV_ROWS, seen)


def in_language(code: str, row: Row) -> Row:
    """The row with both sentences translated and its label in words."""
    first, second, label = row
    texts = (" ".join(translated(code, text.split())) for text in (first, second))
    return (*texts, LABELS[int(label)])


def files(seed: int) -> dict[str, list[Row]]:
    """Rows of every file by its name."""
    train, dev = rows_of(seed)
    made = {"train-en.tsv": [in_language("en", row) for row in train]}
    return made | {f"dev-{code}.tsv": [in_language(code, row) for row in dev] for code in CODES}


def main() -> None:
    """Write all files under DIR/xnli."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = options.out / "xnli"
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in files(options.seed).items():
        (folder / name).write_bytes("".join("\t".join(row) + "\n" for row in rows).encode())


if __name__ == "__main__":
    main()
