"""What tuning tries and which trial it takes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pytest

from harness.core.errors import UserError
from harness.core.method import Range
from harness.core.tuned import Trial
from harness.runner.tuning.search import build_search_space, find_best_trial, find_edges, get_declared_values, propose
from methods.head import Head
from methods.lora import Lora

RATE = {"lr": Range(1e-4, 9e-2)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tunable(Lora):
    """Lets its alpha and rank be tuned too."""

    name: ClassVar[str] = "tunable"
    tunable: ClassVar[Mapping[str, Range]] = {"alpha": Range(1.0, 64.0), "rank": Range(4, 32), "lr": Range(1e-3, 1e-1)}


def trials(*pairs: tuple[float, float | None]) -> list[Trial]:
    return [Trial(values={"lr": lr}, keys=[str(lr)], score=score, steps=1, seconds=0.1) for lr, score in pairs]


def test_rates_lie_in_the_range_and_fill_it_evenly_in_the_logarithm() -> None:
    found = propose(RATE, {"lr": 3e-3}, 65)
    assert found[0] == {"lr": 3e-3} and len(found) == 65
    rates = np.array([values["lr"] for values in found[1:]])
    assert rates.min() >= 0.995e-4 and rates.max() <= 9.05e-2
    share = np.histogram((np.log(rates) - np.log(1e-4)) / np.log(900), bins=8, range=(0, 1))[0]
    assert set(share) <= {7, 8, 9}  # a random sample of 64 would spread over far more


def test_few_rates_lie_around_the_declared_one() -> None:
    found = [values["lr"] / 3e-3 for values in propose(RATE, {"lr": 3e-3}, 6)]
    eighths = [0.5, 0.75, 0.25, 0.375, 0.875, 0.625]  # of the range's logarithm: the declared rate is its middle
    assert found == pytest.approx([900 ** (place - 0.5) for place in eighths], rel=0.01)


def test_the_points_are_those_of_stored_searches() -> None:
    """A search that is continued finds its records. Its trials are in results/reference/glue-minilm-h100-tuned."""
    stored = [5e-4, 2.74e-3, 9.13e-5, 2.14e-4, 6.41e-3, 1.17e-3]
    assert propose(build_search_space(Lora(), 5e-4), {"lr": 5e-4}, 6) == [{"lr": rate} for rate in stored]


def test_whole_numbers_are_tried_equally_often() -> None:
    space = {"lr": Range(1e-4, 1e-2), "rank": Range(1, 4, log=False)}
    found = [values["rank"] for values in propose(space, {"lr": 1e-3, "rank": 4}, 65)[1:]]
    assert np.bincount(found, minlength=5).tolist() == pytest.approx([0, 16, 16, 16, 16], abs=1)


def test_a_longer_search_only_adds() -> None:
    assert propose(RATE, {"lr": 3e-3}, 9)[:4] == propose(RATE, {"lr": 3e-3}, 4)


def test_methods_are_tried_at_the_same_places_of_their_ranges() -> None:
    lora = propose(build_search_space(Lora(), 3e-3), {"lr": 3e-3}, 6)
    head = propose(build_search_space(Head(), 1e-2), {"lr": 1e-2}, 6)
    assert [b["lr"] / a["lr"] for a, b in zip(lora, head, strict=True)] == pytest.approx([1e-2 / 3e-3] * 6, rel=0.01)


def test_default_range_is_a_factor_of_thirty_each_way() -> None:
    space = build_search_space(Lora(), 3e-3)
    assert set(space) == {"lr"}
    assert (space["lr"].low, space["lr"].high, space["lr"].log) == (pytest.approx(1e-4), pytest.approx(9e-2), True)


def test_a_method_may_declare_options_and_those_given_are_fixed() -> None:
    space = build_search_space(Tunable(), 3e-3)
    assert space["lr"] == Range(1e-3, 1e-1) and set(space) == {"lr", "alpha", "rank"}
    found = propose(space, get_declared_values(Tunable(), 3e-3, space), 6)
    assert found[0] == {"lr": 3e-3, "alpha": 16.0, "rank": 16}
    assert all(isinstance(v["rank"], int) and 4 <= v["rank"] <= 32 and 1 <= v["alpha"] <= 64 for v in found)
    assert len({v["rank"] for v in found}) > 3
    assert set(build_search_space(Tunable(rank=8), 3e-3)) == {"lr", "alpha"}


@pytest.mark.parametrize(
    ("tunable", "says"),
    [({"alfa": Range(1, 2)}, "tunable names 'alfa'"), ({"alpha": Range(1.0, 2.0)}, "alpha=16 is outside of its range")],
)
def test_a_declaration_that_cannot_be(monkeypatch: pytest.MonkeyPatch, tunable: dict[str, Range], says: str) -> None:
    monkeypatch.setattr(Tunable, "tunable", tunable)
    with pytest.raises(UserError, match=says):
        build_search_space(Tunable(), 3e-3)


def test_best_is_the_highest_and_of_equals_the_nearest_to_the_declared_rate() -> None:
    assert find_best_trial(trials((1e-3, 50.0), (1e-2, 61.0), (1e-4, 60.0))) == 1
    assert find_best_trial(trials((1e-3, 50.0), (1e-1, 61.0), (2e-3, 61.0), (1e-5, 61.0))) == 2
    assert find_best_trial(trials((1e-3, None), (1e-2, -4.0), (1e-4, None))) == 1
    assert find_best_trial(trials((1e-3, None), (1e-2, None))) is None


def test_an_optimum_at_the_end_of_what_was_tried_is_flagged() -> None:
    made = trials((1e-3, 50.0), (1e-2, 61.0), (1e-4, 40.0))
    assert find_edges(made, 1) == {"lr": "highest"} and find_edges(made, 2) == {"lr": "lowest"}
    assert find_edges(made, 0) == {}
    assert find_edges([*made, *trials((1.0, None))], 1) == {}  # beyond it training failed: that was tried too
    assert find_edges(made[:1], 0) == {"lr": "only"}
