"""Write the XNLI-shaped data: English train rows and one dev file per language, in the XTREME layout.

Run `python -m scripts.embedded.xnli.generate --out DIR`; the same seed gives the same bytes. A file has no header;
its columns are premise, hypothesis, label. The dev files are translations of the same rows, line by line.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from scripts.embedded import inference_tasks
from suites.embedded.rows import Row, draw_distinct_rows
from suites.embedded.xnli.languages import CODES
from suites.embedded.xnli.orders import translate_sentence

TRAIN_ROWS = 640
DEV_ROWS = 150
LABELS = ("entailment", "neutral", "contradiction")


def draw_rows(seed: int) -> tuple[list[Row], list[Row]]:
    """English train and dev rows; no dev row is a train row."""
    rng = random.Random(f"xnli-{seed}")
    seen_rows: set[Row] = set()
    train = draw_distinct_rows(inference_tasks.draw_mnli, rng, TRAIN_ROWS, seen_rows)
    return train, draw_distinct_rows(inference_tasks.draw_mnli, rng, DEV_ROWS, seen_rows)


def translate_row(code: str, row: Row) -> Row:
    """The row with both sentences translated and its label in words."""
    first, second, label = row
    texts = (" ".join(translate_sentence(code, text.split())) for text in (first, second))
    return (*texts, LABELS[int(label)])


def build_files(seed: int) -> dict[str, list[Row]]:
    """Rows of every file by its name."""
    train, dev = draw_rows(seed)
    rows_by_file = {"train-en.tsv": [translate_row("en", row) for row in train]}
    for code in CODES:
        rows_by_file[f"dev-{code}.tsv"] = [translate_row(code, row) for row in dev]
    return rows_by_file


def main() -> None:
    """Write all files under DIR/xnli."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = options.out / "xnli"
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in build_files(options.seed).items():
        (folder / name).write_bytes("".join("\t".join(row) + "\n" for row in rows).encode())


if __name__ == "__main__":
    main()
