"""Variance components against the analysis of variance, statsmodels, and simulated truth."""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from statsmodels.formula.api import ols

from reports.statistics.variance import Component, estimate_components


def _grid(
    seed: int, sds: tuple[float, float, float], a: int = 5, b: int = 5
) -> tuple[np.ndarray, list[dict[str, int]]]:
    """Scores of init x mask, with the standard deviation of each and of the rest."""
    rng = np.random.default_rng(seed)
    own, other = rng.normal(0, sds[0], a), rng.normal(0, sds[1], b)
    places = list(itertools.product(range(a), range(b)))
    scores = np.array([80 + own[i] + other[j] + rng.normal(0, sds[2]) for i, j in places])
    return scores, [{"init": i, "mask": j, "order": 0} for i, j in places]


def _by_name(found: tuple[Component, ...]) -> dict[str, Component]:
    return {c.stream: c for c in found}


def _table(scores: np.ndarray, seeds: list[dict[str, int]]) -> pd.DataFrame:
    frame = pd.DataFrame(seeds).assign(y=scores)
    return sm.stats.anova_lm(ols("y ~ C(init) + C(mask)", frame).fit())


def test_a_balanced_grid_is_the_analysis_of_variance() -> None:
    scores, seeds = _grid(0, (2.0, 1.0, 0.5))
    table = _table(scores, seeds)
    found = _by_name(estimate_components(scores.tolist(), seeds))
    rest = table.mean_sq["Residual"]
    assert list(found) == ["init", "mask", "rest"]
    assert found["rest"].variance == pytest.approx(rest)
    for name in ("init", "mask"):
        assert found[name].variance == pytest.approx((table.mean_sq[f"C({name})"] - rest) / 5)
        assert found[name].p == pytest.approx(table["PR(>F)"][f"C({name})"], rel=1e-6)
    assert sum(c.share for c in found.values()) == pytest.approx(1.0)


def test_mixedlm_agrees_where_no_component_is_at_zero() -> None:
    """REML equals the moments on a balanced grid; mixedlm's optimum is good to about a percent."""
    scores, seeds = _grid(0, (2.0, 1.0, 0.5))
    frame = pd.DataFrame(seeds).assign(y=scores, one=1)
    parts = {"init": "0 + C(init)", "mask": "0 + C(mask)"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = sm.MixedLM.from_formula("y ~ 1", frame, groups="one", vc_formula=parts).fit(reml=True)
    found = _by_name(estimate_components(scores.tolist(), seeds))
    for name, variance in zip(fit.model.exog_vc.names, fit.vcomp, strict=True):
        assert found[name].variance == pytest.approx(variance, rel=0.02)
    assert found["rest"].variance == pytest.approx(fit.scale, rel=0.02)


def test_unbiased_with_holes_in_the_grid() -> None:
    truth, sums = {"init": 4.0, "mask": 1.0, "rest": 0.25}, dict.fromkeys(("init", "mask", "rest"), 0.0)
    for seed in range(300):
        scores, seeds = _grid(seed, (2.0, 1.0, 0.5), 6, 6)
        stay = np.random.default_rng(seed).random(36) < 0.8
        found = estimate_components(scores[stay].tolist(), [s for s, kept in zip(seeds, stay, strict=True) if kept])
        for part in found:
            sums[part.stream] += part.variance / 300
    for name, value in truth.items():
        assert sums[name] == pytest.approx(value, rel=0.15)


def test_with_holes_the_test_is_that_of_nested_models() -> None:
    scores, seeds = _grid(4, (0.4, 1.0, 0.5))
    frame = pd.DataFrame(seeds).assign(y=scores).drop(index=[0, 7, 13, 24])
    kept = [seeds[i] for i in frame.index]
    found = _by_name(estimate_components(frame.y.tolist(), kept))
    full = ols("y ~ C(init) + C(mask)", frame).fit()
    for name, other in (("init", "mask"), ("mask", "init")):
        expected = sm.stats.anova_lm(ols(f"y ~ C({other})", frame).fit(), full)["Pr(>F)"].iloc[1]
        assert found[name].p == pytest.approx(expected, rel=1e-6)
    assert found["rest"].variance == pytest.approx(full.mse_resid)


def test_streams_that_move_together_are_one_and_paired_seeds_cannot_be_split() -> None:
    seeds = [{"init": i, "head": i, "mask": j} for i in range(3) for j in range(3)]
    found = estimate_components(np.random.default_rng(0).normal(0, 1, 9).tolist(), seeds)
    assert [c.stream for c in found] == ["init + head", "mask", "rest"]
    assert estimate_components([1.0, 2.0, 4.0], [{"init": i, "mask": i} for i in range(3)]) == ()
    assert estimate_components([1.0, 2.0], [{"init": 0}, {"init": 1}]) == ()


def test_no_spread_is_no_error() -> None:
    found = estimate_components([70.0] * 9, [{"init": i, "mask": j} for i in range(3) for j in range(3)])
    assert all(c.variance == 0 and c.share == 0 and c.p is None for c in found)
