"""MMLU-shaped data: made again byte for byte, in the official layout, with wordings unseen in training."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

from tests.scripts.embedded.made import SHIPPED, contents, made, size_of

FOLDER = SHIPPED / "data" / "mmlu"


def exam(split: str) -> dict[str, list[list[str]]]:
    paths = sorted((FOLDER / split).glob("*.csv"))
    return {path.name.removesuffix(f"_{split}.csv"): list(csv.reader(path.open(encoding="utf-8"))) for path in paths}


def train() -> list[dict[str, str]]:
    return [json.loads(line) for line in (FOLDER / "train.jsonl").read_text(encoding="utf-8").splitlines()]


def test_the_script_makes_the_shipped_bytes(tmp_path: Path) -> None:
    shipped = contents(FOLDER)
    assert len(shipped) == 31
    assert size_of(FOLDER) <= 400_000
    assert made("mmlu", tmp_path / "0", seed=0) == shipped
    assert all(data != shipped[name] for name, data in made("mmlu", tmp_path / "1", seed=1).items())


def test_layout() -> None:
    splits = {split: exam(split) for split in ("dev", "val", "test")}
    assert len(splits["test"]) == 10 and all(set(found) == set(splits["test"]) for found in splits.values())
    assert all(len(rows) == 5 for rows in splits["dev"].values())
    rows = [row for rows in splits["test"].values() for row in rows]
    assert len(rows) >= 1000
    assert all(len(row) == 6 and row[5] in "ABCD" and len(set(row[1:5])) == 4 for row in rows)
    letters = Counter(row[5] for row in rows)
    assert max(letters.values()) < 0.3 * len(rows)


def test_no_question_stands_in_two_splits_and_none_has_two_answers() -> None:
    for subject in exam("test"):
        rows = [tuple(row) for split in ("dev", "val", "test") for row in exam(split)[subject]]
        assert len(set(rows)) == len(rows)
        answers = {(row[0], row["ABCD".index(row[5]) + 1]) for row in rows}
        assert len({text for text, _ in answers}) == len(answers)


def test_an_answer_can_not_be_told_without_the_question() -> None:
    """Always naming the most frequent right value among the options is little better than chance."""
    rows = [row for rows in exam("test").values() for row in rows]
    right = Counter(row["ABCD".index(row[5]) + 1] for row in rows)
    guessed = sum(max(row[1:5], key=lambda value: right[value]) == row["ABCD".index(row[5]) + 1] for row in rows)
    assert guessed / len(rows) < 0.34


def test_training_rows_are_alpaca_rows_with_other_wordings() -> None:
    rows = train()
    assert len(rows) == 800 and all(set(row) == {"instruction", "input", "output"} for row in rows)
    assert all(row["output"] in "ABCD" and len(row["input"].splitlines()) == 5 for row in rows)
    asked = {row["input"].splitlines()[0] for row in rows}
    assert not asked & {row[0] for rows in exam("test").values() for row in rows}
