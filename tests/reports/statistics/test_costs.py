"""Speeds are compared only where nothing disturbed the profiles and their spreads do not overlap."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.profile import MachineLoad, Profile
from reports.findings import build_findings
from reports.statistics.analysis import analyse
from reports.statistics.costs import TIMES, Spread, compare_speeds, compute_speed, describe_load
from tests.reports.records import cell, profile, record

QUIET = MachineLoad(before=0.9, after=1.0, others=0.02)
BUSY = MachineLoad(before=2.0, after=2.0, others=0.4)
UNKNOWN = MachineLoad(before=None, after=None, others=None)


def timed(median: float, spread: float, load: MachineLoad | None = QUIET, **fields: object) -> Profile:
    seconds = median * (1 + spread * np.linspace(-1, 1, 21))
    return profile(seconds=seconds.tolist(), load=load, **fields)


def test_the_spread_is_that_of_numpys_percentiles() -> None:
    seconds = np.random.default_rng(0).uniform(0.1, 0.3, 50)
    found = compute_speed(profile(seconds=seconds.tolist()))
    slow, median, fast = 16 / np.percentile(seconds, [90, 50, 10])
    assert found is not None and (found.low, found.median, found.high) == pytest.approx((slow, median, fast))
    assert compute_speed(profile(seconds=[0.1])) is None
    assert str(Spread(92.3, 28.1, 384.2)) == "92 (28 to 384)" and str(Spread(0.52, 0.45, 3.14)) == "0.52 (0.45 to 3.1)"


@pytest.mark.parametrize(
    ("own", "other", "text"),
    [
        (timed(0.2, 0.05), timed(0.1, 0.05), "0.50x as fast as lora (0.46 to 0.54)"),
        (timed(0.1, 0.05), timed(0.2, 0.05), "2.00x as fast as lora (1.85 to 2.17)"),
        (timed(0.102, 0.2), timed(0.1, 0.2), "speed 0.98x (0.71 to 1.35): no difference shown"),
        (timed(0.2, 0.05, BUSY), timed(0.1, 0.05), "speed 0.50x (0.46 to 0.54): no difference shown (others 40 %)"),
        (timed(0.2, 0.05, None), timed(0.1, 0.05), "speed 0.50x (0.46 to 0.54): no difference shown (load unknown)"),
        (timed(0.2, 0.05), timed(0.1, 0.05, UNKNOWN), "speed 0.50x (0.46 to 0.54): no difference shown (load unknown)"),
        (
            timed(0.2, 0.05, shared_with=[7]),
            timed(0.1, 0.05, None),
            "speed 0.50x (0.46 to 0.54): no difference shown (others on the GPU, load unknown)",
        ),
    ],
)
def test_a_claim_needs_quiet_profiles_and_spreads_apart(own: Profile, other: Profile, text: str) -> None:
    found = compare_speeds(own, other)
    assert found is not None and found.describe("lora") == text.replace("x ", f"{TIMES} ", 1)


def test_nothing_is_compared_without_a_spread() -> None:
    assert compare_speeds(timed(0.1, 0.1), profile(seconds=[0.1])) is None


def test_a_profile_of_an_earlier_version_has_an_unknown_load() -> None:
    stored = profile().model_dump(exclude={"load"})
    assert describe_load(Profile.model_validate(stored)) == "load unknown"
    assert describe_load(profile(load=QUIET)) == "others 2 %"


def test_the_report_compares_each_pair_once() -> None:
    records = [
        record(60.0 + seed + bonus, cell(task, method, seed))
        for task in ("cola", "rte")
        for method, bonus in (("lora", 0.0), ("lorasp", 1.0))
        for seed in range(3)
    ]
    profiles = [timed(0.1, 0.05, method="lora"), timed(0.2, 0.05, method="lorasp", peak_bytes=2**20)]
    found = build_findings(analyse(records, profiles))
    (rows,) = [rows for title, rows, *_ in found.tables if title.startswith("Cost")]
    assert [(row["method"], row["against"]) for row in rows] == [("lorasp", "lora")]
    assert rows[0]["peak memory"] == "1.00 MiB (3.00 MiB) rss above loaded backbone"
    assert rows[0]["trainable parameters"] == "1,024 (1,024)" and "0.50" in rows[0]["speed"]
