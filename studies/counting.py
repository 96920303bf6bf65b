"""Exact parameter counts and bytes of LoRA's pairs on a known model shape, without loading weights."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harness.core.quantization import QUANTIZATIONS

FLOAT = 4
"""Bytes of a trainable parameter, of its gradient, and of each AdamW moment: all float32."""


@dataclass(frozen=True)
class BackboneWeights:
    """Parameters of a backbone: all of them, and those in linear layers, which quantization stores as codes."""

    numbers: int
    quantized: int

    @property
    def bf16(self) -> int:
        return 2 * self.numbers

    @property
    def nf4(self) -> int:
        """Bytes of 4-bit codes with their scales, and of the other parameters in bf16."""
        return QUANTIZATIONS.get("nf4").count_vector_bytes(self.quantized) + 2 * (self.numbers - self.quantized)


@functools.cache
def build_skeleton(shape: str, suite: str) -> Any:
    """The model of a shape as the suite's tasks would train it, on device meta: shapes without data."""
    from harness.core.method import SUITES
    from harness.core.presets import get_preset
    from harness.models.load import load_skeleton
    from harness.models.source import resolve

    # The number of outputs decides the size of the head, so the suite matters.
    outputs = next(iter(SUITES.get(suite).tasks.values())).outputs
    return load_skeleton(resolve(get_preset("quick"), suite, f"shape:{shape}"), outputs)


def count_trained(shape: str, suite: str, target: Sequence[str], rank: int, ratio: float) -> int:
    """Trainable parameters in A and B where `ratio` is exact in each matrix."""
    from methods.masks import count_share
    from methods.sites import find_sites

    sites = find_sites(build_skeleton(shape, suite), target, rank)
    return sum(count_share(m * n, ratio) for site in sites for m, n in site.shapes)


def count_head(shape: str, suite: str) -> int:
    """Parameters of the classification head."""
    skeleton = build_skeleton(shape, suite)
    return sum(p.numel() for name, p in skeleton.named_parameters() if not name.startswith(skeleton.base_model_prefix))


def count_weights(shape: str, suite: str) -> BackboneWeights:
    """Parameters of the whole model."""
    from methods.layers.replica_linear import find_backbone_linears

    skeleton = build_skeleton(shape, suite)
    of_linears = sum(skeleton.get_parameter(f"{name}.weight").numel() for name, _ in find_backbone_linears(skeleton))
    return BackboneWeights(sum(p.numel() for p in skeleton.parameters()), of_linears)


def count_state_bytes(count: int) -> int:
    """Bytes of the gradients and both AdamW moments of `count` trainable parameters."""
    return 3 * FLOAT * count
