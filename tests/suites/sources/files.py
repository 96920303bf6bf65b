"""Invented rows in the official layouts, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

MSR_HEADER = ("Quality", "#1 ID", "#2 ID", "#1 String", "#2 String")
PARSES = ("sentence1_binary_parse", "sentence2_binary_parse", "sentence1_parse", "sentence2_parse")
MNLI_HEADER = ("index", "promptID", "pairID", "genre", *PARSES, "sentence1", "sentence2", "label1", "gold_label")
STSB_HEADER = (
    "index",
    "genre",
    "filename",
    "year",
    "old_index",
    "source1",
    "source2",
    "sentence1",
    "sentence2",
    "score",
)
QQP_HEADER = ("id", "qid1", "qid2", "question1", "question2", "is_duplicate")


def write(path: Path, rows: Sequence[Sequence[str]], mark: str = "", end: str = "\n") -> Path:
    """Tab-separated rows; `mark` goes before them, `end` after each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((mark + "".join("\t".join(row) + end for row in rows)).encode())
    return path


def mnli_row(number: int, premise: str, hypothesis: str, label: str) -> tuple[str, ...]:
    parses = ("( a )", "( b )", "(ROOT a)", "(ROOT b)")
    return (str(number), f"{number}", f"{number}n", "tales", *parses, premise, hypothesis, "neutral", label)


def msr_rows(count: int) -> list[tuple[str, ...]]:
    return [(str(n % 2), str(100 + n), str(500 + n), f"first {n}", f"second {n}") for n in range(count)]
