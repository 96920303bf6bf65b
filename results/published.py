"""Published figures of papers, with their sources and the differences of their protocols to ours: published.tsv."""

from __future__ import annotations

import csv
from pathlib import Path

PUBLISHED_PATH = Path(__file__).parent / "published.tsv"


def read_published(path: Path = PUBLISHED_PATH) -> list[dict[str, str]]:
    """One row per figure: source, arxiv, table, model, method, trainable_parameters, protocol, task, metric, value
    in points, and differences: how this project's protocol differs.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
