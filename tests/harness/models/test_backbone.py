"""Bytes of a backbone as it is stored: by hand, at every level."""

from __future__ import annotations

import pytest
import torch

from harness.core.method import METHODS, Member
from harness.core.presets import get_preset
from harness.core.seeds import Streams, equal
from harness.data.task_types.classification import compute_replica_losses
from harness.models.backbone import BackboneStorage, measure_storage
from harness.models.load import load_model
from harness.models.source import resolve
from harness.training.pack_setup import build_calibration
from tests.harness.small_training import rows

WIDTH, INNER, LAYERS, WORDS, PLACES = 64, 128, 3, 399, 64
LINEAR = LAYERS * (4 * WIDTH * WIDTH + 2 * WIDTH * INNER)  # the weights that a level quantizes
ROWS = LAYERS * (5 * WIDTH + INNER)
REST = (
    (WORDS + PLACES + 2) * WIDTH  # embeddings
    + 2 * WIDTH  # their norm
    + LAYERS * (5 * WIDTH + INNER + 4 * WIDTH)  # biases and norms
    + WIDTH * WIDTH
    + WIDTH  # pooler
)


def loaded(quantize: str, method: str = "lora") -> BackboneStorage:
    model = load_model(resolve(get_preset("quick"), "glue", None), 2, quantize=quantize)
    own = list(model.parameters())
    kind = METHODS.get(method)()
    kind.attach(model, [Member(kind, Streams(equal(0)), 2)], build_calibration(rows(), compute_replica_losses))
    return measure_storage(model, own)


@pytest.mark.parametrize("method", ["lora", "dora", "vera", "full", "head"])
def test_in_floating_point_four_bytes_a_number(method: str) -> None:
    assert loaded("none", method) == BackboneStorage(LINEAR + REST, 4 * (LINEAR + REST), 0)


@pytest.mark.parametrize("quantize", ["int8", "nf4", "fp4", "nf4-dq"])
def test_quantized(quantize: str) -> None:
    pytest.importorskip("bitsandbytes")
    found, sites = loaded(quantize), 6 * LAYERS
    assert found.numbers == LINEAR + REST
    kept = 1.0 if quantize == "int8" else 0.5
    assert found.weights == LINEAR * kept + 4 * REST
    blocks = LINEAR // 64
    wanted = {
        "int8": 4 * ROWS,  # a scale for each row
        "nf4": 4 * blocks + sites * 16 * 4,  # a scale for each block of 64, a table of 16
        "fp4": 4 * blocks + sites * 16 * 4,
        # scales in one byte each, theirs for each 256, a table of 16 and one of 256, and a mean
        "nf4-dq": blocks + 4 * sites * 1 + sites * (16 + 256 + 1) * 4,
    }
    assert found.quantization == wanted[quantize]


def test_the_calibration_pass_hides_no_scale() -> None:
    """bitsandbytes moves the scales of 8-bit weights at the first forward pass."""
    pytest.importorskip("bitsandbytes")
    model = load_model(resolve(get_preset("quick"), "glue", None), 2, quantize="int8")
    own = list(model.parameters())
    before = measure_storage(model, own)
    with torch.no_grad():
        model(**rows().batch(torch.arange(4).numpy()))
    assert measure_storage(model, own) == before and before.quantization > 0


def test_an_evaluation_pass_leaves_four_bit_weights_as_they_are() -> None:
    """On CPUs with AVX512-BF16 bitsandbytes repacks them, and later training steps would multiply in bf16."""
    pytest.importorskip("bitsandbytes")
    model = load_model(resolve(get_preset("quick"), "glue", None), 2, quantize="nf4")
    batch = rows().batch(torch.arange(4).numpy())
    before = model.train()(**batch).logits
    stored = {name: p.clone() for name, p in model.named_parameters()}
    model.eval()(**batch)
    assert torch.equal(model.train()(**batch).logits, before)
    assert all(torch.equal(p, stored[name]) for name, p in model.named_parameters())
