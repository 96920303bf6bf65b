"""McNemar against statsmodels, and the rows of seed pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar as reference

from reports.detail import build_pair_tables
from reports.statistics.analysis import analyse
from reports.statistics.seed_pairs import compute_mcnemar_p
from tests.reports.predicted import guesses, kept


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (0, 5), (3, 9), (7, 7), (40, 61), (8, 7)])
def test_mcnemar_is_statsmodels_exact_test(won: int, lost: int) -> None:
    table = [[50, won], [lost, 20]]
    assert compute_mcnemar_p(won, lost) == pytest.approx(reference(table, exact=True).pvalue if won + lost else 1.0)


def test_each_seed_pair_has_its_own_row(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 300)
    said = {(m, s): guesses(rng, targets, 0.8 if m == "lora" else 0.7) for m in ("lora", "lorasp") for s in range(3)}
    records = [kept(tmp_path, p, targets, method=m, seed=s) for (m, s), p in said.items()]
    pairs = analyse(records, [], cells=tmp_path).pairs
    assert list(pairs.seeds) == ["0", "1", "2"]
    for row in pairs.itertuples():
        a, b = (said[m, int(row.seeds)] == targets for m in ("lorasp", "lora"))
        assert (row.only_method_right, row.only_first_right) == (np.sum(a & ~b), np.sum(b & ~a))
        assert row.difference == pytest.approx(100 * (a.mean() - b.mean()))
        spread = 100 * np.std(a.astype(float) - b, ddof=1) / np.sqrt(300)
        assert row.high - row.low == pytest.approx(2 * 1.96 * spread, rel=0.12)


def test_a_pair_that_never_differs_has_no_interval(tmp_path: Path) -> None:
    """Two models that said the same of each example: that is no certainty of it for new ones."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 50)
    same = guesses(rng, targets, 0.8)
    records = [kept(tmp_path, same, targets, method=m, seed=0) for m in ("lora", "lorasp")]
    analysis = analyse(records, [], cells=tmp_path)
    assert analysis.pairs.low.isna().all() and analysis.pairs.difference.item() == 0.0
    ((_, rows, *_),) = build_pair_tables(analysis.rows["pairs"])
    assert rows[0]["95 % interval"] == "-"
