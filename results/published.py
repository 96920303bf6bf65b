"""Figures that papers state, with their sources and how their protocols differ from ours: published.tsv."""

from __future__ import annotations

import csv
from pathlib import Path

PUBLISHED_PATH = Path(__file__).parent / "published.tsv"


def read_published(path: Path = PUBLISHED_PATH) -> list[dict[str, str]]:
    """One row per figure: source, arxiv, table, model, method, trainable_parameters, protocol, task, metric, value
    in points, and differences: what this project does otherwise.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
