"""XNLI with the translations of an example as one unit: against statsmodels' clustered errors and numpy's bootstrap."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from harness.core.record import AverageInfo, Predictions, Record
from reports.frames import build_grids
from reports.registered import SuiteContext
from reports.statistics.analysis import analyse
from reports.statistics.evidence import sum_influences
from reports.statistics.examples import load_examples
from reports.statistics.language_gaps import ALL, FAMILIES
from reports.tables.languages import build
from tests.reports.records import cell, record

CODES = ("en", *itertools.chain(*FAMILIES.values()))
UNITS = 120
METRICS = [f"accuracy_{code}" for code in CODES]
EFFECTS = {"lora": 0.0, "lorasp": -0.03}


def store(folder: Path, method: str, seed: int, right: Any) -> Record:
    """A record of XNLI with predictions in `folder`; right [languages, units]."""
    made = cell("en", method, seed, suite="xnli")
    targets = np.random.default_rng(7).integers(0, 3, UNITS)
    frames = []
    for code, row in zip(CODES, right, strict=True):
        ids = [f"validation_{code}/{n}" for n in range(UNITS)]
        said = np.where(row, targets, (targets + 1) % 3)
        frames.append(pd.DataFrame({"id": ids, "split": f"validation_{code}", "target": targets, "prediction": said}))
    pd.concat(frames).to_parquet(folder / f"{made.key}.parquet", index=False)
    scores = dict(zip(METRICS, 100 * right.mean(axis=1), strict=True))
    averages = {"xnli": AverageInfo(tasks=["en"], score=float(100 * right.mean()), metrics=METRICS)}
    side = Predictions(path=f"{made.key}.parquet", sha256="0" * 64, rows=UNITS * len(CODES))
    return record(float(100 * right.mean()), made, ["en"], scores=scores, averages=averages, predictions=side)


@pytest.fixture
def right() -> dict[tuple[str, int], Any]:
    """Method and seed -> [languages, units]: an example that is hard in one language is hard in all."""
    rng = np.random.default_rng(0)
    ease = rng.normal(0, 0.25, UNITS)
    skill = np.linspace(0.8, 0.5, len(CODES))[:, None]
    made = {}
    for method, seed in itertools.product(EFFECTS, range(4)):
        made[method, seed] = rng.random((len(CODES), UNITS)) < skill + ease + EFFECTS[method] + rng.normal(0, 0.01)
    return made


def test_the_error_of_the_mean_over_languages_is_statsmodels(tmp_path: Path, right: Any) -> None:
    records = [store(tmp_path, *key, hits) for key, hits in right.items()]
    scores = {r.key: float(np.mean(list(r.scores.values()))) for r in records}
    influences = sum_influences(load_examples(records, METRICS, scores, tmp_path))
    assert influences.shape == (UNITS, len(records))
    for position, hits in enumerate(right.values()):
        values, groups = 100.0 * hits.ravel(), np.tile(np.arange(UNITS), len(CODES))
        # statsmodels' factor (N - 1) / (N - k) is 1 for a mean
        fit = sm.OLS(values, np.ones(len(values))).fit(cov_type="cluster", cov_kwds={"groups": groups})
        error = float(np.sqrt(np.sum(influences[:, position] ** 2)))
        assert error == pytest.approx(fit.bse[0], rel=1e-9)
        # as many independent examples as rows would claim too much
        assert error > 1.5 * values.std() / len(values) ** 0.5


def test_drops_and_their_intervals_are_those_of_a_joint_bootstrap(tmp_path: Path, right: Any) -> None:
    records = [store(tmp_path, *key, hits) for key, hits in right.items()]
    rows = {(r["family"], r["method"]): r for r in analyse(records, [], cells=tmp_path).rows["languages"]}
    assert len(rows) == (len(FAMILIES) + 1) * 2
    rng = np.random.default_rng(1)
    for family, codes in {**FAMILIES, ALL: CODES[1:]}.items():
        at = [CODES.index(code) for code in codes]
        # [method, seed, unit]
        units = np.array(
            [[100.0 * (h[at].mean(axis=0) - h[0]) for h in (right[m, s] for s in range(4))] for m in EFFECTS]
        )
        assert rows[family, "lorasp"]["drop"] == pytest.approx(units[1].mean())
        excess = units[1] - units[0]
        row = rows[family, "lorasp"]
        assert row["excess"] == pytest.approx(excess.mean()) and row["excess_examples"] is True
        # new examples, each with all of its translations, for these seeds
        draws = np.array([excess.mean(axis=0)[rng.integers(0, UNITS, UNITS)].mean() for _ in range(4000)])
        half = (row["excess_high"] - row["excess_low"]) / 2
        seed_variance = excess.mean(axis=1).var(ddof=1) / 4
        # between the two errors without and with that of new seeds, at the quantiles of the normal and of t with 3
        assert 1.9 * draws.std() < half < 3.3 * (draws.var() + seed_variance) ** 0.5
        assert "excess" not in rows[family, "lora"]


def test_tables_of_families_are_in_the_report(tmp_path: Path, right: Any) -> None:
    records = [store(tmp_path, *key, hits) for key, hits in right.items()]
    (grid,) = build_grids(records)
    by_language, drops, excess = build(SuiteContext(grid, analysis=analyse(records, [], cells=tmp_path)))
    assert len(by_language.rows) == 15
    assert [row[1] for row in drops.rows] == [*FAMILIES, ALL] and drops.head[3:] == ("lora", "lorasp")
    assert excess.head[3:] == ("lorasp",) and "one unit" in excess.notes[0]
    without = build(SuiteContext(grid, analysis=analyse(records, [])))
    assert (
        "one unit" not in without[1].notes[0] and without[1].rows[0][3].split(" ")[0] == drops.rows[0][3].split(" ")[0]
    )
