"""Predictions that are stored are read by later plans, and never for another step."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from harness.core.spec_reading import make_spec
from harness.planning.plan import make_plan
from harness.profiling import capacity, prediction_cache
from harness.profiling.predict import predict
from harness.profiling.prediction import Step
from harness.profiling.prediction_cache import build_prediction_key


@pytest.fixture
def step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Step:
    monkeypatch.setenv("LORASP_HARNESS_CACHE", str(tmp_path))
    plan = make_plan(make_spec({"tasks": ("rte",), "methods": "lora", "seeds": "1"}))
    return capacity.Capacity("cpu", 2**30).step(plan.cells[0])


def test_a_stored_prediction_is_read_and_a_damaged_one_is_made_again(
    step: Step, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = predict(step)
    assert capacity.Capacity("cpu", 1)._predict_cached(step, 1) == expected
    (path,) = tmp_path.rglob("*.json")
    content = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("harness.profiling.predict.predict", lambda *_: pytest.fail("predicted again"))
        assert capacity.Capacity("cpu", 1)._predict_cached(step, 1) == expected
    path.write_bytes(content.replace(b'"launches": ', b'"launches": 1'))
    assert capacity.Capacity("cpu", 1)._predict_cached(step, 1) == expected
    assert path.read_bytes() == content


def test_all_that_a_step_depends_on_is_in_the_key(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    cell, protocol = step.cells[0], step.cells[0].protocol
    changed_cells = [
        cell.model_copy(update={"dtype": "bf16"}),
        cell.model_copy(update={"quantize": "nf4"}),
        cell.model_copy(update={"recompute": "full"}),
        cell.model_copy(update={"parts": {"plugin": "0"}}),
        *(
            cell.model_copy(update={"protocol": protocol.model_copy(update={name: value})})
            for name, value in {"batch_size": 3, "attention_dropout": 0.5, "max_length": 5}.items()
        ),
    ]
    steps = [dataclasses.replace(step, cells=(changed,)) for changed in changed_cells]
    steps += [dataclasses.replace(step, length=7), dataclasses.replace(step, methods=(type(step.methods[0])(rank=3),))]
    keys = [
        build_prediction_key(step, 1),
        build_prediction_key(step, 2),
        *(build_prediction_key(each, 1) for each in steps),
    ]
    monkeypatch.setattr(prediction_cache, "source_digest", lambda: "other code")
    keys.append(build_prediction_key(step, 1))
    assert None not in keys and len(set(keys)) == len(keys)
