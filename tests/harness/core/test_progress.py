"""Progress of a run: share done and time left, against runs whose length is known."""

from __future__ import annotations

import itertools

import pytest

from harness.core.progress import PlannedPack, RunProgress, format_duration, format_time_left


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


PACKS = [
    PlannedPack(("a", "b"), steps=100, step_work=1.0, scoring_work=10.0),
    PlannedPack(("c", "d", "e", "f"), steps=100, step_work=2.0, scoring_work=20.0),
]
SECONDS_PER_WORK, LOADING = 0.1, 3.0


def play(progress: RunProgress, clock: Clock, packs: list[PlannedPack]) -> list[tuple[float, float | None, float]]:
    """Time, estimate and share after each step of a run in one process."""
    seen = []
    progress.plan(packs)
    for pack in packs:
        clock.now += LOADING / 2
        progress.start_pack("cola", len(pack.keys), pack.steps, pack.keys, "")
        clock.now += LOADING / 2
        for step in range(1, pack.steps + 1):
            clock.now += pack.step_work * SECONDS_PER_WORK
            progress.finish_step(step, [0.5], "")
            seen.append((clock.now, progress.seconds_left, progress.share))
        clock.now += pack.scoring_work * SECONDS_PER_WORK
        for key in pack.keys:
            progress.finish_cell(key, counts=True)
        progress.finish_pack("")
    return seen


def test_the_estimate_is_right_from_the_first_pack_on() -> None:
    clock = Clock()
    progress = RunProgress(6, clock)
    seen = play(progress, clock, PACKS)
    end = clock.now
    estimates = [(at, left) for at, left, _ in seen if left is not None]
    assert len(estimates) > 180  # it does not wait for a pack to end
    assert all(abs(left - (end - at)) < 0.05 * end for at, left in estimates)
    assert progress.share == 1.0 and progress.done == 6


def test_the_estimate_never_climbs_far_and_the_share_never_falls() -> None:
    clock = Clock()
    seen = play(RunProgress(6, clock), clock, PACKS)
    lefts = [left for _, left, _ in seen if left is not None]
    assert max(b - a for a, b in itertools.pairwise(lefts)) < 0.5
    shares = [share for _, _, share in seen]
    assert shares == sorted(shares) and 0 < shares[0] < 0.01 and shares[50] == pytest.approx(51 / 330)


def test_there_is_no_estimate_before_some_work_is_done() -> None:
    clock = Clock()
    progress = RunProgress(6, clock)
    progress.plan(PACKS)
    clock.now = 20.0  # a long loading says nothing of the steps
    assert progress.seconds_left is None and progress.share == 0.0
    assert list(progress.describe().values()) == ["loading"]
    progress.start_pack("cola", 2, 100, ("a", "b"), "")
    progress.finish_step(1, [0.5], "")
    assert progress.seconds_left is None


def test_a_split_pack_gives_its_work_back() -> None:
    clock = Clock()
    progress = RunProgress(6, clock)
    progress.plan(PACKS)
    progress.start_pack("cola", 4, 100, PACKS[1].keys, "")
    progress.finish_step(50, [0.5], "")
    assert progress.share == pytest.approx(100 / 330)
    progress.finish_pack("")
    assert progress.share == 0.0 and progress.done == 0
    progress.start_pack("cola", 2, 100, ("c", "d"), "")
    progress.finish_step(100, [0.5], "")
    assert progress.share == pytest.approx(100 / 330)


def test_two_workers_take_half_the_time() -> None:
    clock = Clock()
    progress = RunProgress(4, clock)
    packs = [PlannedPack((str(i),), 100, 1.0, 0.0) for i in range(4)]
    progress.plan(packs)
    for name in ("cuda:0", "cuda:1"):
        progress.start_pack("rte", 1, 100, (), name)
    for step in range(1, 51):
        clock.now += 1.0
        for name in ("cuda:0", "cuda:1"):
            progress.finish_step(step, [0.5], name)
    assert progress.seconds_left == pytest.approx(150, rel=0.05)
    assert progress.describe()["cuda:1"] == "training rte, 1 cell, step 50/100"


def test_profiles_count_on_their_own() -> None:
    clock = Clock()
    progress = RunProgress(0, clock)
    for number in (1, 2, 3):
        progress.start_profile("lora", number, 5)
        assert (progress.seconds_left is None) == (number == 1)
        clock.now += 10
    assert progress.describe() == {"": "profiling lora in isolation, 3/5"} and progress.share == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12, "10 s"), (57, "55 s"), (59, "1 min"), (119, "2 min"), (6000, "1 h 40 min"), (3600, "1 h"), (97_000, "27 h")],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_time_left() -> None:
    assert format_time_left(None) == "" and format_time_left(3) == "a few seconds left"
    assert format_time_left(130) == "about 2 min left"
