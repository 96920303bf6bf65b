"""The cost model finds the constants that times were made from."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.profile import Profile
from harness.core.provenance import describe_environment, get_utc_time
from harness.core.store import Store
from harness.profiling.cost import fit_cost, fit_cost_of_absent_gpu, load_profiles


def profile(flops: int, launches: int, seconds: float, **fields: object) -> Profile:
    made = {"key": f"{flops}-{launches}", "status": "ok", "suite": "glue", "method": "lora", "model": "m"}
    made |= {"model_revision": "r", "device": "cpu", "batch_size": 8, "length": 16, "warmup_steps": 5}
    made |= {"timed_steps": 1, "peak_kind": "rss above loaded backbone", "step_seconds": [seconds], "flops": flops}
    made |= {"launches": launches, "environment": describe_environment("cpu", 1), "measured": get_utc_time()}
    return Profile.model_validate(made | fields)


def seconds(flops: int, launches: int) -> float:
    return 2e-3 + 1e-10 * flops + 5e-6 * launches


SIZES = [(10**6, 300), (10**9, 300), (10**8, 3000), (5 * 10**9, 900), (10**7, 1200)]


def test_finds_the_constants() -> None:
    cost = fit_cost([profile(f, n, seconds(f, n)) for f, n in SIZES], "cpu", 1)
    assert cost is not None and cost.profiles == 5 and cost.error < 1e-6
    assert [cost.fixed, cost.per_flop, cost.per_launch] == pytest.approx([2e-3, 1e-10, 5e-6])
    assert cost.step(10**10, 2000) == pytest.approx(seconds(10**10, 2000))


def test_two_profiles_give_a_rate_only() -> None:
    cost = fit_cost([profile(10**9, 100, 0.5), profile(2 * 10**9, 100, 1.0)], "cpu", 1)
    assert cost is not None and cost.fixed == cost.per_launch == 0 and cost.per_flop == pytest.approx(5e-10)


def test_others_machines_and_old_profiles_do_not_count() -> None:
    apart = [profile(10**9, 9, 1.0, status="oom"), profile(10**9, 9, 1.0).model_copy(update={"flops": None})]
    apart += [
        profile(10**9, 9, 1.0, environment=describe_environment("cpu", 7)),
        profile(10**9, 9, 1.0, shared_with=[17]),
    ]
    assert fit_cost(apart, "cpu", 1) is None


def test_profiles_are_found_in_the_folder_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(tmp_path / "results/runs/one")
    store.prepare()
    store.write_profile(profile(10**9, 9, 1.0))
    (store.profile_dir / "broken.json").write_text("{")
    assert [p.flops for p in load_profiles([tmp_path / "absent"])] == [10**9]


def test_the_cost_of_a_gpu_that_is_not_here_is_that_of_its_profiles() -> None:
    here = describe_environment("cpu", 1)
    there = here.model_copy(update={"cpu": "another", "gpu": "a GPU", "device": "cuda", "threads": 8})
    profiles = [profile(f, n, seconds(f, n), device="cuda", environment=there) for f, n in SIZES]
    cost = fit_cost_of_absent_gpu([*profiles, profile(10**9, 9, 1.0)])
    assert cost is not None and cost.profiles == 5 and cost.per_flop == pytest.approx(1e-10)
    assert "a GPU, which is not here" in cost.line
    assert fit_cost_of_absent_gpu([profile(10**9, 9, 1.0)]) is None
