"""Savings from counts and solo profiles only."""

from __future__ import annotations

import pytest

from harness.record import Parameters
from reports.statistics.savings import saving, sentence
from tests.reports.records import cell, profile, record


def test_figures_and_words() -> None:
    half = Parameters(adapter_trained=512, adapter_frozen=512, head_trained=130, backbone=9999, backbone_trained=0)
    method, first = record(70.0, cell(method="lorasp"), parameters=half), record(70.0)
    profiles = [profile("lora", peak_bytes=2**20), profile("lorasp", seconds=[0.1] * 3)]
    found = saving([method], [first], profiles)
    assert found.trained == (512, 1024) and found.peak == (3 * 2**20, 2**20) and found.state == (13848, 13848)
    assert found.speed == (pytest.approx(160), pytest.approx(80))
    assert "runs at 2.00 of the speed of lora" in sentence(found, "lorasp", "lora")


@pytest.mark.parametrize(
    "other", [{"status": "failed"}, {"dtype": "bf16"}, {"length": 64}, {"model_revision": "b" * 64}, {"batch_size": 8}]
)
def test_a_profile_of_something_else_is_not_taken(other: dict[str, object]) -> None:
    found = saving([record(70.0, cell(method="lorasp"))], [record(70.0)], [profile("lora"), profile("lorasp", **other)])
    assert found.peak is None and found.speed is None


def test_nothing_measured_says_nothing() -> None:
    assert sentence(saving([record(None, parameters=None)], [record(70.0)], []), "a", "b") == ""
