"""Counts of LLaMA 7B in closed form, and the verdict on the share that halving saves."""

from __future__ import annotations

import pytest

from harness.core.cell import ModelRef
from studies import counting
from studies.answer import StudyRuns
from studies.rules.scaling import _judge_shape, compute_saved_share, judge
from studies.stored import build_content
from studies.study import load_study
from tests.reports.records import cell, record


def test_seven_billion_in_closed_form() -> None:
    width, inner, layers, words = 4096, 11008, 32, 32000
    linear = layers * (4 * width * width + 3 * width * inner)
    numbers = linear + 2 * words * width + (2 * layers + 1) * width
    found = counting.count_weights("llama-7b", "mmlu")
    assert (found.numbers, found.quantized) == (numbers, linear)
    assert found.bf16 == 2 * numbers
    assert found.nf4 == linear // 2 + linear // 16 + 2 * (numbers - linear)
    whole = counting.count_trained("llama-7b", "mmlu", ["query", "key", "value"], 16, 1.0)
    assert whole == layers * 3 * 16 * 2 * width
    assert counting.count_state_bytes(whole) == 12 * whole


def test_counts_are_evidence_whatever_was_measured_beside_them() -> None:
    """The claims read a verdict of exact counts, though the small shapes that were run have random weights."""
    study = load_study("scaling")
    study = study.model_copy(update={"options": study.options | {"shapes": {"roberta-base": "glue"}}})
    seen = StudyRuns([record(50.0, cell("rte", model=ModelRef(name="shape:minilm", revision="a" * 64)))])
    assert seen.stand_in
    made = build_content(study, judge(study, seen), seen, "quick", "a command")
    assert (made["stand_in"], made["preset"], made["kind"]) == (False, "exact", "contradicted")


@pytest.mark.parametrize(("bf16", "nf4", "kind"), [(9e9, 3e9, "contradicted"), (1e6, 1e5, "confirmed")])
def test_share(bf16: float, nf4: float, kind: str) -> None:
    counted = {"lora": 10**6, "lorasp": 5 * 10**5, "bf16": int(bf16), "nf4": int(nf4)}
    assert _judge_shape("a shape", counted, 0.1).kind == kind
    assert compute_saved_share(counted, "bf16") == pytest.approx(6e6 / (bf16 + 4e6 + 12e6))


def test_one_level_of_two_is_undecided() -> None:
    counted = {"lora": 10**6, "lorasp": 5 * 10**5, "bf16": 10**9, "nf4": 10**6}
    assert _judge_shape("a shape", counted, 0.1).kind == "undecided"
