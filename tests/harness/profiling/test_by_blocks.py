"""Predictions from models of 3 and 4 blocks against steps of the whole model, which are the reference."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import harness.models.shapes as shapes
from harness.core.spec_reading import make_spec
from harness.models.shapes import ModelShape
from harness.planning.plan import make_plan
from harness.profiling.batch_line import BatchPredictor, count_parameters
from harness.profiling.by_blocks import BlockPredictor
from harness.profiling.fake_step import use_fake_tensors
from harness.profiling.predict import predict_whole
from harness.profiling.prediction import Prediction, Step, set_batch

WIDTHS = {"hidden_size": 128, "num_attention_heads": 4, "vocab_size": 1000}
KINDS = {
    "causal": ("llama", {**WIDTHS, "intermediate_size": 352, "num_key_value_heads": 2, "pad_token_id": 0}),
    "encoder": ("bert", {**WIDTHS, "intermediate_size": 512}),
}


def build_step(
    kind: str, depth: int, method: str, monkeypatch: pytest.MonkeyPatch, device: str = "cuda", **flags: Any
) -> Step:
    """A step of a small model of a kind with so many blocks."""
    model_type, fields = KINDS[kind]
    shape = ModelShape(model_type, {**fields, "num_hidden_layers": depth})
    monkeypatch.setattr(shapes, "SHAPES", {**shapes.SHAPES, "tiny": shape})
    settings = {name: (value,) for name, value in flags.items()}
    asked = {"tasks": ("rte",), "seeds": "1", "methods": method, "model": ("shape:tiny",)}
    (planned,) = make_plan(make_spec(asked | {"batch_size": 4, "max_length": 48} | settings)).cells
    return Step((planned.cell,), (planned.method,), planned.task, planned.source, 48, device)


def predict_by_blocks(step: Step) -> Prediction | None:
    with use_fake_tensors():
        return BlockPredictor(min_depth=5).predict(step)


FAST = [
    ("causal", 5, "full", {"dtype": "bf16"}),
    ("causal", 5, "lorasp", {"dtype": "bf16", "quantize": "nf4", "recompute": "full"}),
    ("encoder", 7, "lorasp:select=column", {"recompute": "selective"}),
]
SLOW: list[tuple[str, int, str, dict[str, str]]] = [("causal", 5, "lora", {})]
for kind in KINDS:
    METHODS = ("lora", "lorasp", "lorasp:select=row", "lorasp:select=column", "lora-fa", "full", "head", "ia3")
    SLOW += [(kind, 8, method, {}) for method in METHODS]
    SLOW += [(kind, 8, m, {"recompute": r}) for m in ("lora", "lorasp", "full") for r in ("selective", "full")]
    SLOW += [(kind, 8, "lorasp", {"quantize": q, "dtype": "bf16"}) for q in ("nf4", "nf4-dq", "int8")]
    SLOW += [(kind, 9, m, {"dtype": "bf16"}) for m in ("lora", "full:optimizer=sgd,momentum=0.9")]
    SLOW += [(kind, 12, m, {}) for m in ("lora:target=all-linear", "lora:optimizer=adamw_8bit")]
CASES = [pytest.param(*case) for case in FAST] + [pytest.param(*case, marks=pytest.mark.slow) for case in SLOW]


@pytest.mark.parametrize("kind, depth, method, flags", CASES)
def test_shallow_models_give_the_prediction_of_the_whole_model(
    kind: str, depth: int, method: str, flags: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if "bit" in method:
        pytest.importorskip("bitsandbytes")
    step = build_step(kind, depth, method, monkeypatch, **flags)
    # all shares, FLOPs and launches, to the byte
    assert predict_by_blocks(step) == predict_whole(step)


@pytest.mark.parametrize("k, device", [(2, "cuda"), pytest.param(3, "cpu", marks=pytest.mark.slow)])
def test_replicas_are_predicted_too(k: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step = build_step("encoder", 6, "lorasp", monkeypatch, device).replicas(k)
    assert predict_by_blocks(step) == predict_whole(step)


@pytest.mark.parametrize(
    "depth, method",
    [
        *((depth, "lora") for depth in (2, 3, 4)),
        # these freeze whole layers or sites, and the layers of a shallow model may all be frozen or all be trained
        (8, "lorasp:select=layer"),
        (8, "lorasp:select=layer,ratio=0.9"),
        (8, "lorasp:select=module"),
        # tensors for all layers at once; a penalty over all layers
        (8, "prefix"),
        (8, "adalora"),
    ],
)
def test_other_models_and_methods_are_traced_as_a_whole(
    depth: int, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert predict_by_blocks(build_step("causal", depth, method, monkeypatch)) is None


def test_blocks_of_two_kinds_are_traced_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    step = build_step("causal", 6, "lora", monkeypatch)
    fields = {**KINDS["causal"][1], "num_hidden_layers": 6}
    kinds = {"layer_types": ["sliding_attention", "full_attention"] * 3, "use_sliding_window": True}
    mixed = {**shapes.SHAPES, "tiny": ModelShape("qwen2", {**fields, **kinds})}
    monkeypatch.setattr(shapes, "SHAPES", mixed)
    assert predict_by_blocks(step) is None


BATCHED = [pytest.param(*FAST[1])]
OTHERS = [case for case in (*FAST[:1], *FAST[2:], *SLOW) if "bit" not in case[2]]
BATCHED += [pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS]


@pytest.mark.parametrize("kind, depth, method, flags", BATCHED)
def test_two_traces_give_the_peaks_of_all_batches(
    kind: str, depth: int, method: str, flags: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = build_step(kind, max(depth, 8), method, monkeypatch, **flags)
    predictor = BatchPredictor(cache=False)
    with use_fake_tensors():
        assert predictor._blocks.trace_batches(step, [1]) is not None
    peaks = predictor.predict_peaks(step, [1, 6, 33])
    assert peaks == {batch: predict_whole(set_batch(step, batch)).peak for batch in (1, 6, 33)}


def test_parameters_of_a_shape_are_those_of_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.models.load import load_skeleton

    source = build_step("encoder", 6, "lora", monkeypatch).source
    assert count_parameters(source, 2) == sum(p.numel() for p in load_skeleton(source, 2).parameters())
    assert dataclasses.replace(source, layers=1) != source
