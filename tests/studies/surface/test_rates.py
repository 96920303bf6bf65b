"""Best rates: chosen on validation scores, with edges, rates that diverge, and intervals."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from studies.surface.rates import BestRate, choose_rates, extend_rates
from studies.surface.runs import COLUMNS

RATES = (1e-3, 2e-3, 4e-3, 8e-3)


def build_runs(validation: dict[tuple[str, float], list[float]], score: float = 50.0) -> pd.DataFrame:
    """Runs of the search on one task: (method, rate) -> validation score of each seed."""
    rows = [
        {
            **dict.fromkeys(COLUMNS),
            "suite": "glue",
            "task": "cola",
            "method": method,
            "lr": rate,
            "batch_size": 32,
            "budget": "500 steps",
            "seed": seed,
            "stage": "search",
            "status": "ok" if value == value else "failed",
            "score": score if value == value else math.nan,
            "validation": value,
            "majority": 0.0,
        }
        for (method, rate), values in validation.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def choose(validation: dict[tuple[str, float], list[float]]) -> dict[str, BestRate]:
    return {method: best for (_, method), best in choose_rates(build_runs(validation)).items()}


def test_the_rate_with_the_best_mean_validation_score_is_chosen() -> None:
    means = dict(zip(RATES, (10.0, 30.0, 20.0, 5.0), strict=True))
    best = choose({("lora", rate): [mean - 1, mean + 1] for rate, mean in means.items()})["lora"]
    assert (best.rate, best.edge, best.rates, best.means) == (2e-3, "", RATES, tuple(means.values()))
    assert best.interval == (2e-3, 2e-3)  # every draw of these seeds gives the same rate
    assert extend_rates(best) == ()


def test_eval_scores_take_no_part_in_the_choice() -> None:
    runs = build_runs({("lora", 1e-3): [20.0, 20.0], ("lora", 2e-3): [10.0, 10.0]})
    runs.loc[runs["lr"] == 2e-3, "score"] = 99.0
    assert next(iter(choose_rates(runs).values())).rate == 1e-3


def test_a_rate_at_the_edge_is_extended_in_the_step_of_the_grid() -> None:
    rising = choose({("lora", rate): [10_000 * rate] * 2 for rate in RATES})["lora"]
    falling = choose({("lora", rate): [-10_000 * rate] * 2 for rate in RATES})["lora"]
    assert (rising.edge, extend_rates(rising)) == ("highest", (0.016, 0.032))
    assert (falling.edge, extend_rates(falling)) == ("lowest", (5e-4, 2.5e-4))


def test_where_all_rates_are_alike_none_is_best_and_nothing_is_extended() -> None:
    best = choose({("lora", rate): [0.0, 0.0] for rate in RATES})["lora"]
    assert best.is_flat and not best.edge and extend_rates(best) == ()


def test_a_rate_at_which_a_seed_diverges_cannot_be_chosen() -> None:
    best = choose({("lora", 1e-3): [10.0, 10.0], ("lora", 2e-3): [90.0, math.nan], ("lora", 4e-3): [9.0, 9.0]})["lora"]
    assert (best.rate, best.diverged) == (1e-3, (2e-3,))
    assert choose({("lora", rate): [math.nan, math.nan] for rate in RATES}) == {}


def test_the_interval_is_that_of_a_bootstrap_over_seeds() -> None:
    generator = np.random.default_rng(3)
    values = generator.normal([10.0, 12.0, 11.5, 4.0], 3.0, size=(6, 4))
    best = choose({("lora", rate): list(values[:, i]) for i, rate in enumerate(RATES)})["lora"]
    resampled = generator.integers(6, size=(20_000, 6))
    chosen = np.array(RATES)[values[resampled].mean(axis=1).argmax(axis=1)]
    for rate in RATES:
        assert np.mean(best.drawn == rate) == pytest.approx(np.mean(chosen == rate), abs=0.04)


def test_ratios_use_the_same_draws_for_both_methods() -> None:
    generator = np.random.default_rng(4)
    values = generator.normal(10.0, 3.0, size=(5, 4))
    both = {(m, rate): list(values[:, i]) for i, rate in enumerate(RATES) for m in ("lora", "lorasp")}
    best = choose(both)
    assert best["lorasp"].compute_ratio(best["lora"]) == (1.0, 1.0, 1.0)  # equal in each draw, though the rates vary
    assert len(set(best["lora"].drawn)) > 1


def test_the_usable_range_is_measured_in_factors_of_two() -> None:
    means = dict(zip(RATES, (10.0, 11.0, 12.0, 0.0), strict=True))
    best = choose({("lora", rate): [mean, mean] for rate, mean in means.items()})["lora"]
    assert best.compute_usable_octaves(2.5) == pytest.approx(3.0)  # 1e-3 / sqrt 2 to 4e-3 * sqrt 2
    assert best.compute_usable_octaves(1.5) == pytest.approx(2.0)
    assert best.compute_usable_octaves(0.5) == pytest.approx(1.0)
