"""Write the MMLU-shaped data: dev, val and test files of ten subjects, and instruction rows for training.

Run `python -m scripts.embedded.mmlu.generate --out DIR`; the same seed gives the same bytes. The exam files have the
official layout (no header: question, A, B, C, D, letter); `train.jsonl` has Alpaca rows (instruction, input, output).
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
from collections.abc import Iterator
from pathlib import Path

from scripts.embedded.mmlu.questions import EXAM, INSTRUCTION_QUESTIONS, INSTRUCTIONS, LETTERS, format_options
from scripts.embedded.mmlu.world import SUBJECTS, ExamSubject, Fact, build_current_facts, draw_options

SPLITS = {"dev": 5, "val": 15, "test": 110}
TRAIN_ROWS = 800

Question = tuple[str, ...]


def draw_question(rng: random.Random, fact: Fact) -> Question:
    """One exam row."""
    values, place = draw_options(rng, fact)
    text = rng.choice(EXAM[fact.subject.name]).format(property=fact.property, thing=fact.thing)
    return text, *values, LETTERS[place]


def iterate_facts(rng: random.Random, known: list[Fact]) -> Iterator[Fact]:
    """The facts in random order, repeatedly: all are equally frequent, so no constant answer is better than chance."""
    while True:
        yield from rng.sample(known, len(known))


def draw_subject_splits(subject: ExamSubject, seed: int) -> dict[str, list[Question]]:
    """Distinct rows of each split of a subject."""
    # One stream per subject, so that a change of one leaves the files of the others.
    rng = random.Random(f"mmlu-{subject.name}-{seed}")
    fact_stream = iterate_facts(rng, [fact for fact in build_current_facts() if fact.subject is subject])
    seen_rows: set[Question] = set()
    splits: dict[str, list[Question]] = {}
    for split, count in SPLITS.items():
        rows: list[Question] = []
        while len(rows) < count:
            row = draw_question(rng, next(fact_stream))
            if row not in seen_rows:
                seen_rows.add(row)
                rows.append(row)
        splits[split] = rows
    return splits


def draw_instructions(seed: int) -> list[dict[str, str]]:
    """Training rows about half of the things, in wordings that no exam question has."""
    rng = random.Random(f"mmlu-train-{seed}")
    names = list(dict.fromkeys(fact.thing for fact in build_current_facts()))
    # Half of the things: the exam then shows how far fine-tuning transfers to facts that it did not teach.
    taught = set(rng.sample(names, len(names) // 2))
    fact_stream = iterate_facts(rng, [fact for fact in build_current_facts() if fact.thing in taught])
    rows: list[dict[str, str]] = []
    while len(rows) < TRAIN_ROWS:
        fact = next(fact_stream)
        values, place = draw_options(rng, fact)
        question_text = rng.choice(INSTRUCTION_QUESTIONS).format(property=fact.property, thing=fact.thing)
        text = f"{question_text}\n{format_options(values)}"
        row = {"instruction": rng.choice(INSTRUCTIONS), "input": text, "output": LETTERS[place]}
        if row not in rows:
            rows.append(row)
    return rows


def format_csv(rows: list[Question]) -> bytes:
    """Rows in the official layout."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def main() -> None:
    """Write all files under DIR/mmlu."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = options.out / "mmlu"
    for subject in SUBJECTS:
        for split, rows in draw_subject_splits(subject, options.seed).items():
            (folder / split).mkdir(parents=True, exist_ok=True)
            (folder / split / f"{subject.name}_{split}.csv").write_bytes(format_csv(rows))
    lines = [json.dumps(row) + "\n" for row in draw_instructions(options.seed)]
    (folder / "train.jsonl").write_bytes("".join(lines).encode())


if __name__ == "__main__":
    main()
