"""Exact numbers and bytes of LoRA's pairs on a known shape; models hold shapes only (device meta)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.core.quantization import QUANTIZATIONS

FLOAT = 4
"""Bytes of a trained number, of its gradient, and of each AdamW moment: all float32."""


@dataclass(frozen=True)
class BackboneWeights:
    """Of a backbone: all numbers, and those in linear layers that quantization stores in codes."""

    numbers: int
    quantized: int

    @property
    def bf16(self) -> int:
        return 2 * self.numbers

    @property
    def nf4(self) -> int:
        """Codes of half a byte and their scales; the rest in bf16."""
        return QUANTIZATIONS.get("nf4").count_vector_bytes(self.quantized) + 2 * (self.numbers - self.quantized)


@functools.cache
def build_skeleton(shape: str, suite: str) -> Any:
    """The skeleton of a shape as the suite's tasks would train it."""
    from harness.core.method import SUITES
    from harness.core.presets import get_preset
    from harness.models.load import load_skeleton
    from harness.models.source import resolve

    outputs = next(iter(SUITES.get(suite).tasks.values())).outputs
    return load_skeleton(resolve(get_preset("quick"), suite, f"shape:{shape}"), outputs)


def count_trained(shape: str, suite: str, target: Sequence[str], rank: int, ratio: float) -> int:
    """Trained entries of A and B, the share exact in each matrix."""
    from methods.masks import count_share
    from methods.sites import find_sites

    sites = find_sites(build_skeleton(shape, suite), target, rank)
    return sum(count_share(m * n, ratio) for site in sites for m, n in site.shapes)


def count_head(shape: str, suite: str) -> int:
    """Numbers of the classification head."""
    skeleton = build_skeleton(shape, suite)
    return sum(p.numel() for name, p in skeleton.named_parameters() if not name.startswith(skeleton.base_model_prefix))


def count_weights(shape: str, suite: str) -> BackboneWeights:
    """Of the whole model."""
    from methods.layers.replica_linear import find_backbone_linears

    skeleton = build_skeleton(shape, suite)
    of_linears = sum(skeleton.get_parameter(f"{name}.weight").numel() for name, _ in find_backbone_linears(skeleton))
    return BackboneWeights(sum(p.numel() for p in skeleton.parameters()), of_linears)


def count_state_bytes(count: int) -> int:
    """Gradient and both moments of so many trained numbers."""
    return 3 * FLOAT * count
