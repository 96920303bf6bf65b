"""What needs a GPU that nothing else keeps busy."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.core.listener import PlainListener
from harness.core.spec_reading import make_spec
from harness.runner.profiles import profile_methods

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")]


@pytest.mark.parametrize("method", ["lora", "lorasp", "full"])
def test_a_profile_repeats(method: str, tmp_path: Path) -> None:
    """The same allocated bytes in every phase, and the same speed within 3 %."""
    shape = {"model": ("shape:minilm",), "batch_size": 32, "max_length": 64}
    flags = {"tasks": ("rte",), "seeds": "1", "methods": method, "device": "cuda", "out": tmp_path} | shape
    first, second = (profile_methods(make_spec(flags), 3, PlainListener(io.StringIO(), 0))[0] for _ in range(2))
    assert first.status == second.status == "ok" and first.peak_bytes
    assert [p.allocated for p in first.phases] == [p.allocated for p in second.phases]
    assert first.peak_bytes == second.peak_bytes and first.shares == second.shares
    if first.samples_per_second is None or second.samples_per_second is None:
        pytest.skip(f"others share the GPU: {first.reason}")
    assert second.samples_per_second == pytest.approx(first.samples_per_second, rel=0.03)
    assert np.median(second.blocks) == pytest.approx(np.median(first.blocks), rel=0.03)


def test_a_step_of_lorasp_takes_no_more_memory_than_loras(tmp_path: Path) -> None:
    """Nor where the half is chosen by scores: what these were computed with is given back."""
    chosen = "lora,lorasp,lorasp:select=column|magnitude|snip"
    flags = {"tasks": ("rte",), "seeds": "1", "methods": chosen, "device": "cuda", "out": tmp_path}
    lora, *others = profile_methods(make_spec(flags | {"model": ("shape:minilm",)}), 1, PlainListener(io.StringIO(), 0))
    assert lora.status == "ok" and lora.peak_bytes and len(others) == 4
    assert all(p.peak_bytes and p.peak_bytes <= lora.peak_bytes for p in others), [p.peak_bytes for p in others]
