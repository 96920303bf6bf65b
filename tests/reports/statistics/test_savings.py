"""Savings from counts and solo profiles only."""

from __future__ import annotations

import pytest

from harness.core.record import Parameters, TrainState
from reports.statistics.savings import compute_saving
from tests.reports.records import cell, profile, record


def test_figures_and_words() -> None:
    half = Parameters(adapter_trained=512, adapter_frozen=512, head_trained=130, backbone=9999, backbone_trained=0)
    method, first = record(70.0, cell(method="lorasp"), parameters=half), record(70.0)
    profiles = [profile("lora", peak_bytes=2**20), profile("lorasp", seconds=[0.1] * 3)]
    found = compute_saving([method], [first], profiles)
    assert (
        found.trained == (512, 1024) and found.peak == (3 * 2**20, 2**20) and found.state is None
    )  # frozen entries that no record has the bytes of
    assert found.speed is not None and found.speed.value == pytest.approx(2.0)


@pytest.mark.parametrize(
    "other", [{"status": "failed"}, {"dtype": "bf16"}, {"length": 64}, {"model_revision": "b" * 64}, {"batch_size": 8}]
)
def test_a_profile_of_something_else_is_not_taken(other: dict[str, object]) -> None:
    found = compute_saving(
        [record(70.0, cell(method="lorasp"))], [record(70.0)], [profile("lora"), profile("lorasp", **other)]
    )
    assert found.peak is None and found.speed is None


def test_nothing_measured_says_nothing() -> None:
    found = compute_saving([record(None, parameters=None)], [record(70.0)], [])
    assert (found.trained, found.state, found.peak, found.speed) == (None, None, None, None)


def test_peaks_of_two_kinds_are_not_compared() -> None:
    profiles = [profile("lora"), profile("lorasp", peak_kind="cuda allocated")]
    assert compute_saving([record(70.0, cell(method="lorasp"))], [record(70.0)], profiles).peak is None


def test_state_has_frozen_entries_and_index_maps_in_it() -> None:
    """A record of a pack counts its neighbours' maps as well, so profiles go first; unknown bytes give no figure."""
    half = Parameters(adapter_trained=512, adapter_frozen=512, head_trained=130, backbone=9999, backbone_trained=0)
    lora = TrainState(weights=400, gradients=400, optimizer=800, frozen=0)
    lorasp = TrainState(weights=200, gradients=200, optimizer=400, frozen=600)
    packed = [
        record(70.0, cell(method="lorasp"), parameters=half, train_state=lorasp),
        record(70.0, train_state=lora.model_copy(update={"frozen": 800})),
    ]
    assert compute_saving([packed[0]], [packed[1]], []).state == (1400, 2400)
    solo = [profile("lora", train_state=lora), profile("lorasp", train_state=lorasp)]
    found = compute_saving([packed[0]], [packed[1]], solo)
    assert found.state == (1400, 1600)
    unknown = record(
        70.0, cell(method="lorasp"), parameters=half, train_state=lorasp.model_copy(update={"frozen": None})
    )
    assert compute_saving([unknown], [packed[1]], []).state is None
    plain = record(70.0, train_state=lora.model_copy(update={"frozen": None}))  # nothing frozen, so nothing unknown
    assert compute_saving([packed[0]], [plain], []).state == (1400, 1600)
