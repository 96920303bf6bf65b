"""Simulated low-bit weights against numpy, the layers against bitsandbytes' choice, and what reports say of them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness.core.listener import PlainListener
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.models.load import FULL_PRECISION, load_model
from harness.models.rounding import BLOCK, round_linears, round_to_bits
from harness.planning.plan import make_plan
from harness.runner import profiles as profile
from results.job import run_spec as run
from tests.harness.models.test_load import CONFIGS, saved

BITS = (2, 3, 6)


def reference(weight: np.ndarray, bits: int) -> np.ndarray:
    """Each block of 64 in row-major order: the nearest of the levels k / L * largest magnitude, k from -L to L."""
    flat, out, most = weight.ravel(), np.empty(weight.size), 2 ** (bits - 1) - 1
    for start in range(0, flat.size, BLOCK):
        block = flat[start : start + BLOCK]
        levels = np.arange(-most, most + 1) / most * np.abs(block).max()
        out[start : start + BLOCK] = levels[np.abs(block[:, None] - levels[None, :]).argmin(1)]
    return out.reshape(weight.shape)


def weight(shape: tuple[int, int] = (24, 50), dtype: torch.dtype = torch.float64) -> torch.Tensor:
    drawn = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return drawn.to(dtype)


@pytest.mark.parametrize("shape", [(24, 50), (64, 64), (3, 5)])
@pytest.mark.parametrize("bits", BITS)
def test_levels_are_the_nearest(bits: int, shape: tuple[int, int]) -> None:
    w = weight(shape)
    np.testing.assert_allclose(round_to_bits(w, bits).numpy(), reference(w.numpy(), bits), rtol=0, atol=1e-14)


@pytest.mark.parametrize("bits", BITS)
def test_bound_levels_and_sign(bits: int) -> None:
    w = weight((32, 64))
    q = round_to_bits(w, bits)
    for before, after in zip(w.view(-1, BLOCK), q.view(-1, BLOCK), strict=True):
        top = float(before.abs().max())
        assert float((before - after).abs().max()) <= top / (2 * (2 ** (bits - 1) - 1)) + 1e-15
        assert len(set(after.tolist())) <= 2**bits - 1
        assert float(after.abs().max()) == top and bool((before * after >= 0).all())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bits", BITS)
def test_rounding_twice_changes_nothing_more(bits: int, dtype: torch.dtype) -> None:
    once = round_to_bits(weight(dtype=dtype), bits)
    assert once.dtype == dtype and torch.equal(round_to_bits(once, bits), once)


def test_a_block_of_zeros_stays() -> None:
    assert torch.equal(round_to_bits(torch.zeros(2, 64), 2), torch.zeros(2, 64))


@pytest.mark.parametrize("name", CONFIGS)
def test_the_layers_are_those_of_bitsandbytes(name: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    source = saved(CONFIGS[name], tmp_path)
    plain, simulated = load_model(source, 2), load_model(source, 2, quantize="sim2")
    real = load_model(source, 2, quantize="nf4")
    converted = {n for n, m in real.named_modules() if type(m).__name__ == "Linear4bit"}
    moved = {
        n.removesuffix(".weight")
        for (n, p), q in zip(plain.named_parameters(), simulated.parameters(), strict=True)
        if not torch.equal(p, q)
    }
    assert moved == converted and len(moved) == (16 if name == "deberta" else 12)


def test_embeddings_heads_and_biases_stay() -> None:
    model = nn.Module()
    model.words, model.dense, model.classifier = nn.Embedding(9, 4), nn.Linear(4, 4), nn.Linear(4, 2)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    round_linears(model, lambda weight: round_to_bits(weight, 2), FULL_PRECISION)
    assert [n for n, p in model.named_parameters() if not torch.equal(p, before[n])] == ["dense.weight"]


def test_no_profile_is_taken_and_the_reason_is_said(tmp_path: Path) -> None:
    spec = make_spec({"tasks": ("rte",), "seeds": "1", "methods": "lora", "quantize": ("sim2",), "out": tmp_path})
    store, stream = Store(tmp_path), io.StringIO()
    store.prepare()
    assert profile.build_requests(make_plan(spec), spec, "cpu") == {}
    assert profile.profile_missing(make_plan(spec), spec, store, PlainListener(stream, 0)) == []
    assert "no profiles at sim2: it is simulated" in stream.getvalue()


def test_a_run_labels_what_is_simulated(tmp_path: Path) -> None:
    budget = {"max_steps": 2, "train_rows": 32, "eval_rows": 20, "profile": False}
    budget |= {"formats": ("md",), "figures": ()}
    spec = make_spec({"tasks": ("rte",), "seeds": "1", "methods": "lora", "quantize": "sim3", "out": tmp_path} | budget)
    (record,) = run(spec, "command", lambda total: PlainListener(io.StringIO(), total)).records
    assert record.status == "ok" and record.extra["quantize"] == "simulated, scores only"
    text = (tmp_path / "report" / "report.md").read_text()
    assert "lora [quantize=sim3, simulated]" in text and "fp32, sim3 (simulated)" in text
    assert "sim3: simulated in floating point, scores only; memory and speed are not measured." in text
