"""MMLU's questions in the layout of its release: data/SPLIT/SUBJECT_SPLIT.csv without a header."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from importlib.resources.abc import Traversable
from pathlib import Path

from harness.core.errors import Absent, UserError
from harness.core.method import Example
from suites.sources.content import find_file
from suites.sources.mmlu_subjects import SUBJECTS
from suites.sources.tables import open_table

COLUMNS = "question, four choices, answer letter"
LETTERS = "ABCD"
PARTS = ("dev", "test")


def read_questions(folder: Traversable) -> dict[str, tuple[Example, ...]]:
    """Questions of the folder's subjects by split: texts are the question and its choices, the label is 0 to 3.

    Their ids are SUBJECT/NUMBER, those of dev dev/SUBJECT/NUMBER. Raises UserError naming file, line and expectation.
    """
    questions: dict[str, list[Example]] = {part: [] for part in PARTS}
    for subject in SUBJECTS:
        files = {part: find_file(folder / part, f"{subject}_{part}.csv") for part in PARTS}
        # A folder may have some of the subjects; `describe_missing` notes which are absent.
        if files["test"] is None:
            continue
        if files["dev"] is None:
            expected = folder / "dev" / f"{subject}_dev.csv"
            raise Absent(f"{expected}: no such file; each subject needs its dev and its test questions")
        for part, path in files.items():
            assert path is not None
            questions[part] += _read(path, subject if part == "test" else f"dev/{subject}")
    return {part: tuple(rows) for part, rows in questions.items()}


def _read(path: Traversable, lead: str) -> list[Example]:
    # Without a header the delimiter cannot be inferred, and questions may have semicolons.
    table = open_table(path, only_commas=True)
    rows: list[Example] = []
    for number, cells in table.rows:
        if len(cells) != 6:
            raise table.error(number, f"{len(cells)} columns, expected 6 ({COLUMNS})")
        *texts, letter = (table.text(number, COLUMNS, cell) for cell in cells)
        letter = letter.strip()
        if letter not in LETTERS or len(letter) != 1:
            header = "; MMLU's files have no header: remove it" if number == 1 and len(letter) > 1 else ""
            raise table.error(number, f"answer '{letter}', expected one of A, B, C, D{header}")
        if not texts[0].strip():
            raise table.error(number, "empty question, expected text")
        rows.append(Example(f"{lead}/{len(rows)}", tuple(texts), LETTERS.index(letter)))
    if not rows:
        raise UserError(f"{path}: empty file, expected rows of {COLUMNS}")
    return rows


def get_subject(question: Example) -> str:
    """The subject of a question, from its id SUBJECT/NUMBER or dev/SUBJECT/NUMBER."""
    return question.id.split("/")[-2]


def describe_missing(questions: Sequence[Example]) -> tuple[str, ...]:
    """One note that names the missing subjects; none if all are there."""
    absent = sorted(set(SUBJECTS) - {get_subject(q) for q in questions})
    if not absent:
        return ()
    return (f"partial: {len(absent)} of the {len(SUBJECTS)} subjects are missing: {', '.join(absent)}",)


def find_question_folder(data_dir: Path) -> Path:
    """The folder with dev/ and test/: `data_dir` itself, its data/, or the same in its folder mmlu. Raises Absent."""
    places = [data_dir / tail for tail in ("", "data", "mmlu", "mmlu/data")]
    folder = next((p for p in places if (p / "test").is_dir() and list((p / "test").glob("*_test.csv*"))), None)
    if folder is None:
        raise Absent(f"mmlu: no test/SUBJECT_test.csv in {data_dir}, its data/ or mmlu/data/; give --data-dir DIR")
    return folder


def find_instruction_files(folder: Path) -> tuple[Sequence[Traversable], tuple[str, ...]]:
    """Training rows beside the questions, and a note: all of Alpaca, else parts of it, else Dolly.

    Searches the folder `alpaca` beside the questions and in the two folders above. Raises Absent if there is none.
    """
    roots = [folder, *folder.absolute().parents][:3]
    for place in (root / "alpaca" for root in roots):
        if (whole := find_file(place, "alpaca_data.json")) is not None:
            return [whole], ()
        if parts := sorted((place / "partial").glob("*.json*")):
            names = ", ".join(path.name for path in parts)
            return parts, (f"partial: train is the distinct rows of {names}, not all of alpaca_data.json",)
    for root, name in itertools.product(roots, ("dolly15k", "dolly")):
        if files := sorted((root / "alpaca" / name).glob("*.json*")):
            return files, ("derived: train is databricks-dolly-15k, as no Alpaca rows are there",)
    raise Absent(
        f"mmlu: no training rows: no alpaca/ with alpaca_data.json, partial/ or dolly15k/ in "
        f"{' or '.join(map(str, roots))}; give --data-file mmlu/train=FILE (Alpaca, Dolly or conversations)"
    )
