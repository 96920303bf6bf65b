"""A paragraph of many verdicts: each method under what the synthetic records make true of it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from harness.core.record import Record
from reports.findings import MAX_SENTENCES_BESIDE, build_findings
from reports.overview import MIN_COMPARISONS, UNADJUSTED_NOTE, build_overviews
from reports.statistics.analysis import analyse
from tests.reports.records import cell, record

TRUTH = {"lorasp": 0.0, "full": 4.0, "head": -30.0, "bitfit": -5.0, "adapter": 0.0, "prompt": 0.0}
NOISE = {"lorasp": 2.0, "full": 0.2, "head": 0.5, "bitfit": 0.2, "adapter": 0.2, "prompt": None}


def runs(seeds: int = 8, tasks: tuple[str, ...] = ("cola", "rte")) -> list[Record]:
    """lora, and methods so far above it, with a noise of their own; prompt has no score on one task."""
    rng = np.random.default_rng(1)
    found = []
    for task in tasks:
        base = 60 + rng.normal(0, 1, seeds)
        found += [record(float(b), cell(task, "lora", s)) for s, b in enumerate(base)]
        for method, gap in TRUTH.items():
            noise = NOISE[method]
            for s, b in enumerate(base):
                score = None if noise is None else float(b + gap + rng.normal(0, noise))
                found.append(record(score, cell(task, method, s)))
    return found


def parts(paragraph: str) -> dict[str, str]:
    """What is told of each method, by its name."""
    found = {}
    for part in paragraph.removesuffix(UNADJUSTED_NOTE).strip().removesuffix(".").partition("): ")[2].split("; "):
        told, _, methods = part.partition(": ")
        found |= {one.partition(" ")[0]: told for one in re.split(r"(?<=\)), ", methods)}
    return found


def test_each_method_stands_under_its_truth() -> None:
    analysis = analyse(runs(), [], margin=1.0)
    (paragraph,) = build_overviews(
        [j for j in analysis.judged if len(j.comparison.tasks) > 1 and j.comparison.first == "lora"], 1.0
    )
    assert paragraph.startswith("Against lora on the average of 2 tasks (points; 8 paired seeds; 95 % intervals for ")
    assert parts(paragraph) == {
        "full": "better",
        "head": "worse",
        "bitfit": "worse",
        "adapter": "equivalent within the margin of 1 points",
        "lorasp": "no significant difference (equivalence not shown)",
        "prompt": "no verdict",
    }


def test_numbers_are_those_of_the_table() -> None:
    found = build_findings(analyse(runs(), [], margin=1.0))
    rows = {r["method"]: r for r in found.tables[0][1] if r["on"] == "average of 2 tasks" and r["against"] == "lora"}
    for method in ("full", "head", "bitfit", "adapter", "lorasp"):
        told = f"{method} {rows[method]['difference']} ({rows[method]['95 % interval']})"
        assert told in found.sentences[0]


def test_lorasp_comes_first_among_the_sentences_and_the_rest_is_counted() -> None:
    found = build_findings(analyse(runs(), [], margin=1.0)).sentences
    sentences = [s for s in found if not s.startswith("Against")]
    assert sentences[0].startswith("lorasp and lora") and len(sentences) == MAX_SENTENCES_BESIDE + 1
    assert "stand in the table" in sentences[-1]


@pytest.mark.parametrize("gap", [2.6, 0.0])
def test_an_interval_that_excludes_0_without_a_verdict_is_explained(gap: float) -> None:
    """Six comparisons: p of about 0.03 is not enough for the correction."""
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 1, 6)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    found = []
    for task in ("cola", "rte"):
        for method, by in {"lora": 0.0, "lorasp": gap, "full": 0.0, "head": 0.0, "bitfit": 0.0, "adapter": 0.0}.items():
            for s, n in enumerate(noise):
                own = 0.0 if method == "lora" else 2.1 * n * (1 if method == "lorasp" else (-1) ** s)
                found.append(record(60.0 + by + own, cell(task, method, s)))
    judged = [j for j in analyse(found, []).judged if len(j.comparison.tasks) > 1 and j.comparison.first == "lora"]
    (paragraph,) = build_overviews(judged, None)
    assert paragraph.endswith(UNADJUSTED_NOTE) is bool(gap) and parts(paragraph)["lorasp"].startswith(
        "no significant difference"
    )


def test_few_comparisons_need_no_overview() -> None:
    few = [r for r in runs() if r.cell.method in ("lora", "lorasp", "full", "head")]
    judged = [j for j in analyse(few, []).judged if len(j.comparison.tasks) > 1]
    assert len(judged) < 2 * MIN_COMPARISONS and build_overviews(judged, None) == []
