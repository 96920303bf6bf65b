"""The table of large causal models in docs/speed-and-memory.md is what the stored benches measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/speed-and-memory.md").read_text()
NAMES = {
    "ours": "harness",
    "peft": "peft",
    "peft+liger": "peft + Liger",
    "peft+liger+compile": "peft + Liger + torch.compile",
}


@pytest.mark.parametrize(("name", "rows"), [("llm-llama-7b-h100", 4), ("llm-llama-7b-batches-h100", 2)])
def test_rows_of_large_causal_models(name: str, rows: int) -> None:
    """Recomputed from the samples: tokens over the median step, and bytes at the peak."""
    samples = json.loads((ROOT / f"results/bench/{name}.json").read_text())["results"]
    assert len(samples) == rows
    for sample in samples:
        low, middle, high = 1000 * np.quantile(sample["seconds"], [0.1, 0.5, 0.9])
        rate = sample["batch"] * sample["length"] / np.median(sample["seconds"])
        place = f"| {NAMES[sample['subject']]} | {sample['batch']} x {sample['length']:,} |"
        told = f"{place} {rate:,.0f} | {middle:.1f} ({low:.1f} to {high:.1f}) | {sample['peak'] / 2**30:.2f} GiB |"
        assert told in TEXT, told
        assert sample["batch"] > 2 or f"{told} {sample['losses'][-1]:.4f} |" in TEXT


def test_the_harness_is_captured_and_its_losses_are_those_of_peft() -> None:
    by_subject = {
        s["subject"]: s for s in json.loads((ROOT / "results/bench/llm-llama-7b-h100.json").read_text())["results"]
    }
    assert by_subject["ours"]["fallback"] is None
    # the matrices A are drawn differently, so losses drift apart by little
    assert np.allclose(by_subject["ours"]["losses"], by_subject["peft"]["losses"], rtol=0, atol=0.01)
