"""The looks of an automatic number of seeds, and how they are written on the command line."""

from __future__ import annotations

import itertools

import pytest
from scipy import stats

from harness.core.errors import UserError
from harness.core.looks import GUARD_SEEDS, Looks, parse_looks
from harness.core.spec_reading import make_spec
from harness.planning.seed_grammar import parse_seeds


@pytest.mark.parametrize(
    ("text", "looks"),
    [
        ("auto", Looks(5, 100)),
        (" auto ", Looks(5, 100)),
        ("auto:3..7", Looks(3, 7)),
        ("auto: 10 .. 400", Looks(10, 400)),
        ("5", None),
        ("init=0..3", None),
        ("automatic", None),
    ],
)
def test_auto_names_the_first_number_and_the_maximum(text: str, looks: Looks | None) -> None:
    assert parse_looks(text) == looks


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("auto:0..3", "too few"),
        ("auto:2..30", "too few"),
        ("auto:5..3", "maximum is not above"),
        ("auto:5..5", "maximum is not above"),
        ("auto:5..20000", "20,000 seeds"),
        ("auto:5", "auto:FIRST..MOST"),
        ("auto:..5", "auto:FIRST..MOST"),
        ("auto:-1..5", "auto:FIRST..MOST"),
        ("auto 5", "auto:FIRST..MOST"),
        ("auto,length=0", "same seed"),
        ("auto:5..9,length=0", "same seed"),
        ("auto:" + "9" * 5000 + "..5", "auto:FIRST..MOST"),
    ],
)
def test_a_malformed_range_is_a_mistake_that_names_what_is_allowed(text: str, says: str) -> None:
    with pytest.raises(UserError) as error:
        parse_looks(text)
    assert says in str(error.value) and "auto:5..100" in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize("looks", [Looks(), Looks(3, 4), Looks(5, 59), Looks(5, 60), Looks(58, 61), Looks(3, 10_000)])
def test_looks_grow_from_the_first_number_to_the_maximum(looks: Looks) -> None:
    counts = looks.counts
    assert (counts[0], counts[-1]) == (looks.first, looks.most) and list(counts) == sorted(set(counts))
    assert all(b <= max(2 * a, a + 2) for a, b in itertools.pairwise(counts))


def test_a_look_comes_as_soon_as_collapses_can_be_ruled_out() -> None:
    assert stats.binomtest(0, GUARD_SEEDS, 0.05, alternative="less").pvalue < 0.05
    assert stats.binomtest(0, GUARD_SEEDS - 1, 0.05, alternative="less").pvalue > 0.05
    assert GUARD_SEEDS in Looks().counts


def test_the_plan_has_the_seeds_of_the_maximum_in_every_stream() -> None:
    assert parse_seeds("auto:3..7") == parse_seeds("7")


def test_an_automatic_run_declares_a_margin() -> None:
    assert make_spec({"seeds": "auto"}).margin == 1.0
    assert make_spec({"seeds": "auto:5..9", "margin": 0.5}).margin == 0.5
    assert make_spec({"seeds": "5"}).margin is None
