"""Shares of made-up profiles."""

from __future__ import annotations

from typing import Any

import pytest

from harness.core.profile import Profile
from harness.core.record import TrainState
from studies.answer import StudyRuns
from studies.rules.memory import judge
from studies.study import load_study
from tests.reports.records import profile

MIB = 2**20


def way(method: str, quantize: str, recompute: str, backbone: int, state: int, peak: int, **fields: Any) -> Profile:
    """MiB."""
    kept = TrainState(weights=0, gradients=state * MIB, optimizer=0, backbone=backbone * MIB, quantization=0)
    names = {"key": f"{method} {quantize} {recompute}", "quantize": quantize, "recompute": recompute}
    return profile(method, train_state=kept, peak_bytes=peak * MIB, **names, **fields)


def ways(all_three: int = 10, state: int = 2, **fields: Any) -> list[Profile]:
    return [
        way("lora", "none", "none", 100, 4, 100, **fields),
        way("lorasp", "none", "none", 100, state, 100, **fields),
        way("lorasp", "nf4", "none", 20, state, 100, **fields),
        way("lorasp", "none", "full", 100, state, 40, **fields),
        way("lorasp", "nf4", "full", 20, state, all_three, **fields),
    ]


def test_parts() -> None:
    found = judge(load_study("memory"), StudyRuns(profiles=ways()))
    assert found.kind == "confirmed"
    assert {name: part.kind for name, part in found.parts.items()} == {
        "half frozen": "contradicted",  # 2 of 200 MiB
        "quantization": "confirmed",  # 80
        "recomputation": "confirmed",  # 60
        "together": "confirmed",  # 170
    }
    assert "170.00 MiB of 200.00 MiB (85.0 %)" in found.sentence
    assert [row["total MiB"] for row in found.rows] == ["200.00", "200.00", "120.00", "140.00", "30.00"]


def test_nothing_saved_contradicts() -> None:
    assert judge(load_study("memory"), StudyRuns(profiles=ways(all_three=170))).kind == "contradicted"


def test_on_a_gpu_the_peak_has_the_backbone_in_it() -> None:
    found = judge(load_study("memory"), StudyRuns(profiles=ways(peak_kind="cuda allocated")))
    assert found.rows[0]["total MiB"] == "100.00"


@pytest.mark.parametrize("lost", range(5))
def test_a_missing_profile_decides_nothing(lost: int) -> None:
    made = ways()
    del made[lost]
    assert judge(load_study("memory"), StudyRuns(profiles=made)).kind == "undecided"


def test_what_can_be_told_without_the_rest_is_told() -> None:
    """A plain run of lora and lorasp, as a GPU's profile without its backbone's bytes."""
    made = [
        way("lora", "none", "none", 100, 8, 100, peak_kind="cuda allocated"),
        way("lorasp", "none", "none", 100, 4, 100, peak_kind="cuda allocated"),
    ]
    bare = [p.model_copy(update={"train_state": p.train_state.model_copy(update={"backbone": None})}) for p in made]
    found = judge(load_study("memory"), StudyRuns(profiles=bare))
    assert found.kind == "undecided" and "half frozen, quantized" in found.lacks
    assert {n: p.kind for n, p in found.parts.items()} == {"half frozen": "contradicted"}
    assert "4.00 MiB of 100.00 MiB" in found.sentence


def test_profiles_of_another_batch_are_not_mixed_in() -> None:
    small = way("lora", "none", "none", 100, 4, 1, batch_size=2)
    found = judge(load_study("memory"), StudyRuns(profiles=[small, *ways()]))
    assert "of 200.00 MiB" in found.sentence


@pytest.mark.parametrize(
    ("lora", "half", "kind"),
    [
        ((0.9, 1.1), (0.5, 0.6), "confirmed"),
        ((0.9, 1.1), (1.5, 1.6), "contradicted"),
        ((0.9, 1.1), (0.95, 1.05), "undecided"),
        ((0.999, 1.001), (0.990, 0.992), "contradicted"),  # surely faster, and by less than processes may differ
        ((0.999, 1.001), (0.960, 0.962), "confirmed"),
    ],
)
def test_speed(lora: tuple[float, float], half: tuple[float, float], kind: str) -> None:
    def timed(method: str, low: float, high: float) -> Profile:
        steps = [low + (high - low) * n / 9 for n in range(10)]
        return way(method, "none", "none", 100, 4, 100, step_seconds=steps)

    found = judge(load_study("memory"), StudyRuns(profiles=[timed("lora", *lora), timed("lorasp", *half)]))
    assert found.parts["speed"].kind == kind
    assert f"{sum(lora) / sum(half):.2f}\N{MULTIPLICATION SIGN} as fast" in found.parts["speed"].sentence


def test_few_steps_say_nothing_of_speed() -> None:
    assert "speed" not in judge(load_study("memory"), StudyRuns(profiles=ways())).parts


def test_the_half_saves_what_its_frozen_entries_leave() -> None:
    """The bytes of MiniLM's solo profiles on an H100, whose allocated peaks differ by 0.28 MiB."""
    states = {
        "lora": TrainState(weights=592904, gradients=592904, optimizer=1185808, frozen=0),
        "lorasp": TrainState(weights=297992, gradients=297992, optimizer=595984, frozen=884736),
    }
    peaks = {"lora": 359140864, "lorasp": 358846976}
    made = [profile(m, train_state=states[m], peak_bytes=peaks[m], peak_kind="cuda allocated", key=m) for m in states]
    part = judge(load_study("memory"), StudyRuns(profiles=made)).parts["half frozen"]
    number, unit = part.sentence.partition(" saves ")[2].split()[:2]
    assert unit == "KiB"
    assert float(number) / 1024 == pytest.approx((peaks["lora"] - peaks["lorasp"]) / MIB, abs=0.005)
    old = [p.model_copy(update={"train_state": states[p.method].model_copy(update={"frozen": None})}) for p in made]
    part = judge(load_study("memory"), StudyRuns(profiles=old)).parts["half frozen"]
    assert "at most" in part.sentence and part.kind == "contradicted"
