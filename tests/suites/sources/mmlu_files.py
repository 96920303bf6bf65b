"""Small made-up questions and instructions in MMLU's and Alpaca's layouts, for tests."""

from __future__ import annotations

import csv
import json
from pathlib import Path

SUBJECTS = ("anatomy", "astronomy", "marketing", "philosophy", "sociology")


def write_mmlu(root: Path, questions: int = 6, subjects: tuple[str, ...] = SUBJECTS) -> Path:
    """root/mmlu/data/{dev,test} with 5 and `questions` rows a subject; root/alpaca/alpaca_data.json with 40 rows."""
    for part, count in (("dev", 5), ("test", questions)):
        for s, subject in enumerate(subjects):
            path = root / "mmlu" / "data" / part / f"{subject}_{part}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="") as stream:
                for i in range(count + s % 2):
                    choices = [f'{c} "{i}", {subject[:3]}' for c in ("red", "blue", "green", "grey")]
                    csv.writer(stream).writerow([f"Which one, {part} {i}?", *choices, "ABCD"[(i * 3 + s) % 4]])
    rows = [{"instruction": f"Say {i}.", "input": "now" * (i % 2), "output": f"It is {i}."} for i in range(40)]
    (root / "alpaca").mkdir()
    (root / "alpaca" / "alpaca_data.json").write_text(json.dumps(rows))
    return root
