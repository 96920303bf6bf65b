"""Signs of failure, planted and absent."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest

from harness.record import Profile, Record
from harness.seeds import equal
from reports.statistics.analysis import analyse
from reports.statistics.signatures import Signature, rises
from tests.reports.records import cell, grid_of, profile, record

FIRST = [70.0, 72.0, 71.0, 69.0, 73.0]


def _found(name: str, records: Sequence[Record], profiles: Sequence[Profile] = ()) -> Signature:
    (made,) = analyse(records, profiles).signatures.values()
    return next(s for s in made if s.name == name)


@pytest.mark.parametrize(("by", "seen"), [(-3.0, True), (3.0, False), (0.0, None)])
def test_degradation(by: float, seen: bool | None) -> None:
    gaps = [by + g for g in (0.5, -0.4, 0.1, 0.3, -0.5)]
    scores = {("rte", "lora"): FIRST, ("rte", "lorasp"): [a + b for a, b in zip(FIRST, gaps, strict=True)]}
    found = _found("scores below lora or full", grid_of(scores, ["rte"]))
    assert found.seen is seen and (not seen or "lorasp below lora on rte (-3.0)" in found.sentence)


def test_degradation_against_full_when_lora_is_first() -> None:
    scores = {("rte", m): [f + d for f in FIRST] for m, d in (("lora", 0.0), ("lorasp", 0.0), ("full", 0.0))}
    scores["rte", "full"] = [f + g for f, g in zip(FIRST, (5.1, 5.0, 4.9, 5.2, 4.8), strict=True)]
    found = _found("scores below lora or full", grid_of(scores, ["rte"]))
    assert found.seen and found.sentence == "lorasp below full on rte (-5.0)."


@pytest.mark.parametrize(("peak", "seen"), [(2, False), (3, True), (4, True), (None, None)])
def test_memory(peak: int | None, seen: bool | None) -> None:
    records = grid_of({("rte", "lora"): FIRST, ("rte", "lorasp"): FIRST}, ["rte"])
    profiles = [profile("lora"), profile("lorasp", peak_bytes=None if peak is None else peak * 2**20)]
    assert _found("memory does not fall", records, profiles).seen is seen


def _curve(kind: str, seed: int, points: int = 20) -> list[float]:
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, points)
    shapes = {
        "falls": 0.7 - 0.5 * t,
        "flat": 0.7 + 0 * t,
        "rises": 0.7 + 0.4 * t,
        "turns": 0.7 - 1.6 * t * (1 - t) ** 0.5,
    }
    shapes["turns"] = np.where(t < 0.5, 0.7 - t, 0.2 + 0.9 * (t - 0.5))
    return (shapes[kind] + rng.normal(0, 0.02, points)).tolist()


@pytest.mark.parametrize(("kind", "share"), [("falls", 0.0), ("flat", 0.02), ("rises", 1.0), ("turns", 1.0)])
def test_rising_loss(kind: str, share: float) -> None:
    found = np.mean([rises(_curve(kind, seed)) for seed in range(200)])
    assert found == share if share in (0.0, 1.0) else found <= share


def test_instability() -> None:
    name = "training is unstable or stuck"
    good = [record(70.0, cell("rte", seed=s), loss_curve=list(enumerate(_curve("falls", s)))) for s in range(3)]
    assert _found(name, good).seen is False
    diverged = record(None, cell("rte", seed=7), reason="the loss is not finite (seen at step 40)")
    found = _found(name, [*good, diverged])
    assert found.seen and "diverged: lora on rte (seeds 7)" in found.sentence
    turned = record(70.0, cell("rte", seed=8), loss_curve=list(enumerate(_curve("turns", 0))))
    found = _found(name, [*good, turned])
    assert found.seen and "loss rises again: lora on rte (seeds 8)" in found.sentence
    assert _found(name, [record(70.0, cell("rte"))]).seen is None


@pytest.mark.parametrize(("init", "mask", "seen"), [(0.2, 3.0, True), (3.0, 0.2, False)])
def test_masks(init: float, mask: float, seen: bool) -> None:
    rng = np.random.default_rng(0)
    own, other = rng.normal(0, init, 5), rng.normal(0, mask, 5)
    records = [
        record(
            70 + own[i] + other[j] + rng.normal(0, 0.3),
            cell("rte", "lorasp", seeds=equal(0) | {"init": i, "mask": j}),
            ["rte"],
        )
        for i, j in itertools.product(range(5), range(5))
    ]
    assert _found("results depend on the mask", records).seen is seen
    frame = analyse(records, []).components
    assert list(frame.stream) == ["init", "mask", "rest"] and frame.share.sum() == pytest.approx(1)


def test_paired_seeds_cannot_tell_masks_apart() -> None:
    found = _found("results depend on the mask", grid_of({("rte", "lorasp"): FIRST}, ["rte"]))
    assert found.seen is None and "--seeds init=0..4,mask=0..4" in found.sentence
