"""The samples that lm-eval logs, as one table per filter.

id  question  prompt  metric ...     one line per question; question and prompt are hashes, so no text is stored
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.files import check_regular
from results.imports.base import ImportedRow

if TYPE_CHECKING:
    import pandas as pd

HASHED = {"question": "doc", "prompt": "arguments"}
"""Column -> the field of a sample that is hashed for it, where the sample has no hash of its own."""
TOLERANCE = 1e-6


def read_samples(path: Path) -> dict[str, pd.DataFrame]:
    """Filter -> its table. Raises OSError, and ValueError that names the line which is no sample."""
    import pandas as pd

    rows: dict[str, list[dict[str, Any]]] = {}
    check_regular(path)
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                sample = json.loads(line)
                rows.setdefault(str(sample.get("filter", "none")), []).append(_read_sample(sample))
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                raise ValueError(f"line {number} is no sample ({type(error).__name__}: {error})") from error
    if not rows:
        raise ValueError("it has no samples")
    return {name: pd.DataFrame(lines) for name, lines in rows.items()}


def _read_sample(sample: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {"id": str(sample["doc_id"])}
    for column, field in HASHED.items():
        digest = sample.get({"question": "doc_hash", "prompt": "prompt_hash"}[column])
        values[column] = str(digest) if digest else _hash(sample[field])
    target = sample.get("target_hash")
    values["target"] = str(target) if target else _hash(sample.get("target"))
    known = {*values, "doc_id", "filter", *HASHED.values()}
    for name, value in sample.items():
        # metrics of a whole set (perplexity, bleu) have tuples here, which are no score of one question
        if name not in known and isinstance(value, (bool, int, float)):
            values[f"score {name}"] = float(value)
    return values


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def get_column(row: ImportedRow) -> str:
    """The column of a row's headline metric."""
    return f"score {row.headline}"


def check_answers(row: ImportedRow, answers: pd.DataFrame) -> str | None:
    """Why the answers are no evidence for the row's headline score; None if they are."""
    column = get_column(row)
    if column not in answers:
        return f"the samples have no {row.headline} of single questions"
    values = answers[column]
    if values.isna().any() or not all(map(math.isfinite, values)):
        return f"{row.headline} of some questions is no number"
    if answers["id"].duplicated().any():
        return "a question comes twice"
    if row.questions is not None and row.questions != len(answers):
        return f"{len(answers)} samples for {row.questions} questions"
    if abs(float(values.mean()) - (row.score or 0.0)) > TOLERANCE:
        return f"the mean {row.headline} of the samples is {values.mean():.6g}, not {row.score:.6g} as reported"
    return None
