"""Paired tests of translations, one seed pair at a time, by sacrebleu's own significance module."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.core.errors import UserError
from harness.core.record import Record
from reports.frames import format_seeds
from reports.statistics.examples import NoExamples, read_predictions

TRANSLATION_COLUMNS = (
    *("suite", "task", "method", "first", "seeds", "metric", "of_first", "of_method", "randomisation_p", "bootstrap_p"),
    "why",
)
Test = Literal["ar", "bs"]
Pairing = tuple[Mapping[str, Any], tuple[Record, Record]]
"""Names of suite, task, method and first, with the two records (method's, first's) of one seed."""
MOST_SENTENCES = 12_000
"""Sentence pairs tested in a report: 40 seed pairs of the embedded test set, 6 of the official one (half a minute)."""


def build_translation_rows(pairs: Sequence[Pairing], cells: Path | None) -> list[dict[str, Any]]:
    """One row per seed pair and metric, both tests; without them where `why` says so. Never pooled over seeds."""
    results: list[dict[str, Any]] = []
    budget = MOST_SENTENCES
    for names, pair in pairs:
        if cells is None or any("bleu" not in r.scores or r.predictions is None for r in pair):
            continue
        start = {**names, "seeds": format_seeds(pair[0].cell.seeds)}
        rows = pair[0].predictions.rows if pair[0].predictions else 0
        # in the order of the report, so that the same pairs are tested each time
        if rows > budget:
            results.append(start | {"why": f"more than {MOST_SENTENCES:,} sentences a report are not tested"})
            continue
        budget -= rows
        results += [start | row for row in _run_tests(pair, cells)]
    return results


def _run_tests(pair: tuple[Record, Record], cells: Path) -> list[dict[str, Any]]:
    try:
        tables = [read_predictions(cells / f"{record.key}.parquet") for record in pair]
        if any(not tables[0].column(name).equals(tables[1].column(name)) for name in ("id", "target")):
            return [{"why": "not scored on the same sentences in the same order"}]
        hypotheses = [table.column("prediction").to_pylist() for table in tables]
        references = tables[0].column("target").to_pylist()
        tests: tuple[Test, ...] = ("ar", "bs")
        both = [compare_translations(hypotheses[1], hypotheses[0], references, test) for test in tests]
    except (NoExamples, UserError) as reason:
        return [{"why": str(reason)}]
    return [
        {"metric": by_ar.metric, "of_first": by_ar.first, "of_method": by_ar.method}
        | {"randomisation_p": by_ar.p, "bootstrap_p": by_bs.p}
        for by_ar, by_bs in zip(*both, strict=True)
    ]


@dataclass(frozen=True)
class TranslationTest:
    """One metric of one seed pair; scores in sacrebleu's points. `p` is two-sided and for these examples only."""

    metric: str
    first: float
    method: float
    p: float


def compare_translations(
    first: Sequence[str],
    method: Sequence[str],
    references: Sequence[str],
    test: Test = "ar",
    samples: int = 1000,
) -> tuple[TranslationTest, ...]:
    """BLEU and chrF of two systems' hypotheses [n]; test 'ar': approximate randomisation, 'bs': paired bootstrap.

    sacrebleu reads its seed from SACREBLEU_SEED and has a fixed one of its own. Raises UserError where sacrebleu is
    not installed or the lengths differ.
    """
    if importlib.util.find_spec("sacrebleu") is None:
        raise UserError("tests of translations need sacrebleu, which is not installed; pip install sacrebleu")
    if not len(first) == len(method) == len(references):
        raise UserError(
            f"{len(first)} and {len(method)} hypotheses for {len(references)} references; give one for each"
        )
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.significance import PairedTest

    metrics: dict[str, Any] = {
        "BLEU": BLEU(references=[list(references)]),
        "chrF2": CHRF(references=[list(references)]),
    }
    systems: list[Any] = [("first", list(first)), ("method", list(method))]
    results: Any
    _, results = PairedTest(systems, metrics, references=None, test_type=test, n_samples=samples)()
    tests = []
    for name in metrics:
        base, other = results[name]
        # sacrebleu counts draws that differ by more than is seen: of equal scores none does, and its p would be 0.001
        p = 1.0 if base.score == other.score else float(other.p_value)
        tests.append(TranslationTest(name, float(base.score), float(other.score), p))
    return tuple(tests)
