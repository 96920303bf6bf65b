"""Predicted memory against what the CPU's allocator says of the same step, and against counts by hand."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import methods.layers.backbone as backbone
from harness.core.spec_reading import make_spec
from harness.models.fake import build_fake_model
from harness.models.source import ModelSource
from harness.planning.plan import make_plan
from harness.profiling.activations import measure_saved_activations
from harness.profiling.clocks import disable_gc
from harness.profiling.fake_step import prepare_trainer, use_fake_tensors
from harness.profiling.live_storages import LiveStorages, sum_storage_bytes
from harness.profiling.predict import predict
from harness.profiling.prediction import Step
from harness.profiling.request import ProfileRequest, build_trainer, load_alone
from harness.profiling.trace import CUBLAS_WORKSPACE, Prediction, trace

SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": (
        "bert",
        {"hidden_size": 256, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 1024},
    ),
    "t5": (
        "t5",
        {"d_model": 256, "d_kv": 64, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 4, "d_ff": 1024}
        | {"decoder_start_token_id": 0, "eos_token_id": 1},
    ),
    "llama": (
        "llama",
        {"hidden_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
        | {"intermediate_size": 704, "pad_token_id": 0},
    ),
}


def source_of(name: str, folder: Path) -> ModelSource:
    """A small model of a kind, with random weights, beside the embedded tokenizer."""
    from transformers import AutoConfig, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

    own = make_plan(make_spec({"tasks": ("rte",), "seeds": "1"})).cells[0].source
    kind, fields = SMALL[name]
    config = AutoConfig.for_model(kind, **fields, vocab_size=1000, num_labels=2)
    auto = AutoModelForSeq2SeqLM if kind == "t5" else AutoModelForSequenceClassification
    auto.from_config(config).save_pretrained(folder)
    return ModelSource(name, folder, own.ref, "as stored", stand_in=True)


def step_of(source: ModelSource, method: str, length: int = 48, **flags: Any) -> Step:
    method += f"{',' if ':' in method else ':'}max_target_length={length // 2}"
    asked = {"tasks": ("rte",), "seeds": "1", "methods": method, "batch_size": 8, "max_length": length}
    plan = make_plan(make_spec(asked | flags))
    (planned,) = plan.cells
    task = planned.task
    if source.name == "t5":
        task = dataclasses.replace(task, labels=(), kind="translation")
    return Step((planned.cell,), (planned.method,), task, source, length, "cpu")


def allocated_peak(step: Step) -> tuple[int, int]:
    """Bytes that a real step holds at most by the profiler's allocator events, and those of the state alone."""
    from torch.profiler import ProfilerActivity, profile

    cell, method = step.cells[0], step.methods[0]
    question = ProfileRequest("", cell, method, step.task, step.source, step.length, "cpu", 1)
    model = load_alone(question)
    trainer = build_trainer(question, model, 3)
    trainer.train_step(0)
    # what earlier tests left in cycles must not be freed meanwhile: it would count as negative
    with disable_gc(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        trainer.train_step(1)
    events = [e for e in seen.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    state = [*trainer.model.parameters(), *trainer.model.buffers(), *trainer.optimizer.list_tensors()]
    state += [t for g in trainer.attached.groups for t in (g.theta, g.grad_buffer) if t is not None]
    return most, sum_storage_bytes(state) + sum(trainer.attached.frozen_bytes)


FAST = [("bert", "full:optimizer=sgd", "none", "none")]
FAST += [("t5", "lora", "none", "none"), ("llama", "lorasp", "none", "selective"), ("bert", "lorasp", "nf4", "none")]
SLOW = [(n, m, "none", "none") for n in SMALL for m in ("lora", "lorasp", "full")]
SLOW += [(n, "lora", "none", how) for n in SMALL for how in ("selective", "full")]
SLOW += [(n, "lorasp", level, "none") for n in SMALL for level in ("nf4", "nf4-dq")]
SLOW += [("bert", "lora:optimizer=adamw_8bit", "none", "none")]
COMBINATIONS = [pytest.param(*c) for c in FAST]
COMBINATIONS += [pytest.param(*c, marks=pytest.mark.slow) for c in SLOW if c not in FAST]


@pytest.mark.parametrize("name, method, quantize, recompute", COMBINATIONS)
def test_peak_is_what_the_allocator_says(name: str, method: str, quantize: str, recompute: str, tmp_path: Path) -> None:
    if quantize != "none" or "bit" in method:
        pytest.importorskip("bitsandbytes")
    step = step_of(source_of(name, tmp_path), method, quantize=(quantize,), recompute=(recompute,))
    predicted = predict(step)
    transient, state = allocated_peak(step)
    assert predicted.peak == pytest.approx(transient + state, rel=0.1)
    assert predicted.shares.activations + predicted.shares.rest == pytest.approx(transient, rel=0.1)


HELD = [
    pytest.param("bert", "lora:optimizer=sgd", "none"),
    pytest.param("bert", "lorasp:rank=64,optimizer=sgd,momentum=0.9", "none"),
    pytest.param("bert", "lora:optimizer=adamw_8bit", "none", marks=pytest.mark.slow),
    pytest.param("bert", "full:optimizer=paged_adamw_8bit", "none"),
    pytest.param("t5", "lorasp", "none", marks=pytest.mark.slow),
    pytest.param("t5", "lorasp", "full"),
    pytest.param("llama", "lora", "none"),
]
HELD += [
    pytest.param(n, m, r, marks=pytest.mark.slow)
    for n in ("t5", "llama")
    for m in ("full", "lora")
    for r in ("none", "selective", "full")
]


@pytest.mark.parametrize("name, method, recompute", HELD)
def test_shares_are_those_of_real_tensors(name: str, method: str, recompute: str, tmp_path: Path) -> None:
    if "bit" in method:
        pytest.importorskip("bitsandbytes")
    # rows of full fine-tuning are longer: its gradients and their update would make the peak, and not the activations
    length = 96 if method == "full" else 48
    step = step_of(source_of(name, tmp_path), method, length, recompute=(recompute,))
    shares = predict(step).shares
    question = ProfileRequest("", step.cells[0], step.methods[0], step.task, step.source, step.length, "cpu", 1)
    trainer = build_trainer(question, load_alone(question), 3)
    trainer.train_step(0)
    # real rows of the full length need no mask, which the plan takes them to need as padded ones do
    assert shares.activations == pytest.approx(measure_saved_activations(lambda: trainer.losses(1)), rel=0.1)
    trained = sum(g.theta.nbytes for g in trainer.attached.groups)
    assert shares.gradients == trained if not method.startswith("full") else shares.gradients <= trained
    assert shares.optimizer == sum(t.nbytes for t in trainer.optimizer.list_tensors())
    stored = sum_storage_bytes([*trainer.model.parameters(), *trainer.model.buffers()])
    own = 0 if method.startswith("full") else shares.adapters - sum(trainer.attached.frozen_bytes)
    assert shares.weights + own == pytest.approx(stored + (0 if method.startswith("full") else own), rel=0.01)


def test_more_replicas_lie_on_the_line_of_one_and_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, fields = SMALL["bert"]
    # of fewer layers the pieces of the update would be a larger part of the launches
    monkeypatch.setitem(SMALL, "bert", (kind, fields | {"num_hidden_layers": 3}))
    step = step_of(source_of("bert", tmp_path), "lora")
    one, two, five = (predict(step.replicas(k)) for k in (1, 2, 5))
    line = one.at(5, two)
    assert line.peak == pytest.approx(five.peak, rel=0.02)
    # on a CPU one replica is updated by a kernel of its own, and more in pieces that get shorter
    assert line.flops == five.flops and line.launches == pytest.approx(five.launches, rel=0.2)
    assert two.shares.weights == one.shares.weights and two.shares.adapters == 2 * one.shares.adapters


@pytest.mark.parametrize(
    "name, level", [*(("bert", level) for level in ("int8", "fp4", "nf4", "nf4-dq")), ("t5", "int8"), ("llama", "nf4")]
)
def test_quantized_storage_is_that_of_bitsandbytes(name: str, level: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from harness.models.load import load_model

    source, outputs = source_of(name, tmp_path), None if name == "t5" else 2
    real = load_model(source, outputs, quantize=level)
    stored = [*real.parameters(), *real.buffers()]
    for parameter in list(stored):
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            stored += [state.absmax, state.code]
            stored += [state.state2.absmax, state.state2.code, state.offset] if state.nested else []
        if getattr(parameter, "SCB", None) is not None:
            stored.append(parameter.SCB)
    with use_fake_tensors():
        fake = build_fake_model(source, outputs, dtype="fp32", quantize=level, trained_backbone=False, device="cpu")
        predicted = sum_storage_bytes([*fake.parameters(), *fake.buffers()])
    # tables that bitsandbytes shares between its layers are counted with each
    assert predicted == pytest.approx(sum_storage_bytes(stored), rel=0.01)


@pytest.mark.parametrize("level", ["int8", pytest.param("fp4", marks=pytest.mark.slow), "nf4"])
def test_scales_are_found_in_a_real_step_as_in_a_predicted_one(level: str, tmp_path: Path) -> None:
    """A float32 for 64 numbers of a 4-bit matrix, or for a row of an 8-bit one; six matrices a layer, two layers."""
    pytest.importorskip("bitsandbytes")
    step = step_of(source_of("bert", tmp_path), "lora", quantize=(level,))
    cell, method = step.cells[0], step.methods[0]
    question = ProfileRequest("", cell, method, step.task, step.source, step.length, "cpu", 1)
    counted = trace(build_trainer(question, load_alone(question), 3), "cpu").shares
    rows, numbers = 2 * (5 * 256 + 1024), 2 * 12 * 256**2
    scales = 4 * (rows if level == "int8" else numbers // 64)
    assert counted.quantization == pytest.approx(scales, rel=0.02)
    assert predict(step).shares.quantization == pytest.approx(scales, rel=0.02)
    assert counted.weights == pytest.approx(predict(step).shares.weights, rel=0.001)


def test_live_bytes_flops_and_launches_of_known_operations() -> None:
    a = torch.ones(100, 50)
    with LiveStorages(block=512) as seen:
        b = a @ a.T
        c = b + 1
        del b
        c.view(-1)
    assert seen.live == 40448 and seen.peak == 2 * 40448  # 40000 bytes in blocks of 512
    assert seen.flops == 2 * 100 * 50 * 100 and seen.launches == 2
    del c
    assert seen.live == 0


def test_what_lived_at_the_peak_is_told_from_what_came_before_and_after() -> None:
    with LiveStorages() as seen:
        early = torch.zeros(100)
        records = seen.storages([early])
        del early
        high = torch.zeros(1000)
        records += seen.storages([high])
        del high
        late = torch.zeros(900)
        records += seen.storages([late])
    assert [seen.at_peak([record]) for record in records] == [0, 4000, 0] and seen.at_peak(records) == seen.peak


@pytest.mark.parametrize("method", ["lora", "full"])
def test_launches_are_those_of_a_real_step(method: str, tmp_path: Path) -> None:
    """But for the mask of padded rows, which real rows of the full length need not."""
    step = step_of(source_of("bert", tmp_path), method)
    question = ProfileRequest("", step.cells[0], step.methods[0], step.task, step.source, step.length, "cpu", 1)
    counted = trace(build_trainer(question, load_alone(question), 3), "cpu")
    assert predict(step).launches == pytest.approx(counted.launches, rel=0.1)


def predict_full(step: Step, device: str, monkeypatch: pytest.MonkeyPatch, *, buffered: bool) -> Prediction:
    """Full fine-tuning as it is, or with a buffer for the gradients."""
    adopt = backbone.group_parameters

    def adopt_so(*args: Any, **kwargs: Any) -> Any:
        return adopt(*args, **(kwargs | {"buffered": buffered}))

    with monkeypatch.context() as patch:
        patch.setattr(backbone, "group_parameters", adopt_so)
        return predict(dataclasses.replace(step, device=device))


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("bert", "cpu"),
        ("llama", "cuda"),
        pytest.param("bert", "cuda", marks=pytest.mark.slow),
        pytest.param("llama", "cpu", marks=pytest.mark.slow),
    ],
)
def test_created_gradients_cost_nothing_at_the_peak_of_the_activations(
    name: str, device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = step_of(source_of(name, tmp_path), "full", length=128, batch_size=32)
    created, held = (predict_full(step, device, monkeypatch, buffered=b) for b in (False, True))
    assert held.shares.activations > held.shares.gradients  # else the peak would be another one
    assert held.peak - created.peak == pytest.approx(held.shares.gradients, rel=0.1)
    assert created.shares.gradients < 0.2 * held.shares.gradients
    assert created.shares.activations == held.shares.activations


@pytest.mark.parametrize("name", ["t5", *(pytest.param(n, marks=pytest.mark.slow) for n in ("bert", "llama"))])
def test_created_gradients_are_never_there_twice(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few activations the peak of a GPU is weights, moments and one copy of the gradients, and little else."""
    step = step_of(source_of(name, tmp_path), "full", length=8, batch_size=1)
    created, held = (predict_full(step, "cuda", monkeypatch, buffered=b) for b in (False, True))
    trained = held.shares.gradients
    assert created.shares.gradients == pytest.approx(trained, rel=0.01)
    assert 4 * trained <= created.peak - CUBLAS_WORKSPACE["cuda"] < 4.2 * trained
    assert created.peak <= held.peak


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_forward_flops_are_those_of_the_shape(device: str) -> None:
    """Two for each weight and token, two products of attention: MiniLM's 6 layers of 384, its pooler and head."""
    rows, length, width = 4, 96, 384
    flags = {"tasks": ("rte",), "seeds": "1", "methods": "full", "model": ("shape:minilm",)}
    plan = make_plan(make_spec(flags | {"batch_size": rows, "max_length": length}))
    (planned,) = plan.cells
    task, source = planned.task, planned.source
    linear, attention = 2 * rows * length * 6 * 12 * width**2, 4 * rows * length**2 * width * 6
    head = 2 * rows * (width * width + 2 * width)
    found = predict(Step((planned.cell,), (planned.method,), task, source, length, device))
    assert found.forward_flops == linear + attention + head


def test_flops_are_those_of_torchs_counter(tmp_path: Path) -> None:
    from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

    aten = torch.ops.aten  # its own table lacks the CPU's fused attention
    lacking = {
        aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
        aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda g, q, k, v, *_, **__: (
            sdpa_backward_flop_count(g, q, k, v)
        ),
        # nor has it products that are added in place
        aten.addmm_: lambda _, a, b, **__: 2 * a[0] * a[1] * b[1],
        aten.baddbmm_: lambda _, a, b, **__: 2 * a[0] * a[1] * a[2] * b[2],
    }
    step = step_of(source_of("bert", tmp_path), "lora")
    cell, method = step.cells[0], step.methods[0]
    question = ProfileRequest("", cell, method, step.task, step.source, step.length, "cpu", 1)
    trainer = build_trainer(question, load_alone(question), 3)
    with FlopCounterMode(display=False, custom_mapping=lacking) as counter:
        trainer.train_step(0)
    assert predict(step).flops == counter.get_total_flops()


@pytest.mark.slow
def test_what_cannot_be_predicted_prints_no_traceback() -> None:
    """In a process of its own: torch's loggers write to the stderr of when they were made."""
    code = """
import torch
from harness.profiling.fake_step import use_fake_tensors
try:
    with use_fake_tensors():
        torch.empty(1, 64).expand(16, 100)
except RuntimeError:
    print("raised")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "raised\n" and "Traceback" not in done.stderr


@pytest.mark.parametrize("optimizer", ["sgd,momentum=0.9", "adamw_8bit", "paged_adamw_32bit"])
def test_the_state_of_a_fake_backbone_is_fake(optimizer: str, tmp_path: Path) -> None:
    """A prediction of a large model must not allocate the state of its optimizer."""
    from torch._subclasses.fake_tensor import FakeTensor

    if "bit" in optimizer:
        pytest.importorskip("bitsandbytes")
    step = step_of(source_of("bert", tmp_path), f"full:optimizer={optimizer}")
    with use_fake_tensors():
        trainer = prepare_trainer(step)
    backbone = sum(g.theta.numel() for g in trainer.attached.groups if g.name == "backbone")
    real = [t for t in trainer.optimizer.list_tensors() if not isinstance(t, FakeTensor)]
    assert sum(t.numel() for t in real) < 0.01 * backbone
