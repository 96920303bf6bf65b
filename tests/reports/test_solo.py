"""Which profile belongs to a record."""

from __future__ import annotations

from reports.solo import find_profile
from tests.reports.records import cell, profile, record


def test_a_recomputed_cell_has_a_profile_of_its_own() -> None:
    plain, again = record(60.0), record(60.0, cell(recompute="full"))
    profiles = [profile(), profile(recompute="full")]
    assert find_profile(plain, profiles) is profiles[0] and find_profile(again, profiles) is profiles[1]
    assert find_profile(again, profiles[:1], finished=True) is None


def test_one_that_failed_stands_for_its_method_unless_a_finished_one_is_asked_for() -> None:
    failed = profile(status="failed")
    assert find_profile(record(60.0), [failed]) is failed
    assert find_profile(record(60.0), [failed], finished=True) is None


def test_of_several_machines_that_of_the_record_stands_and_of_its_own_the_latest() -> None:
    made = record(60.0)
    other = made.environment.model_copy(update={"gpu": "another"})
    early, late = (profile(environment=made.environment, measured=f"2026-01-0{day}T00:00:00+00:00") for day in (2, 3))
    elsewhere = profile(environment=other, measured="2026-01-04T00:00:00+00:00")
    assert find_profile(made, [late, early, elsewhere]) is late
    assert find_profile(made, [elsewhere, profile()]) is elsewhere
