"""A backbone without its weights: fake tensors that know shape, dtype and storage, and hold no numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from harness.core.cell import Precision
from harness.core.quantization import QUANTIZATIONS, Quantization
from harness.models.load import FULL_PRECISION, build_model

if TYPE_CHECKING:
    from harness.models.source import ModelSource


def build_fake_model(
    source: ModelSource,
    outputs: int | None,
    *,
    dtype: Precision,
    quantize: str,
    trained_backbone: bool,
    device: str,
) -> nn.Module:
    """What `load_model` returns, in shapes. Call it within a FakeTensorMode."""
    kind = torch.bfloat16 if dtype == "bf16" and not trained_backbone else torch.float32
    model = build_model(source, outputs, device, kind)
    quantization = QUANTIZATIONS.get(quantize)
    if not quantization.is_float:
        # transformers also skips the layers that an architecture keeps in float32 (T5's wo).
        skip = [*FULL_PRECISION, *(getattr(model, "_keep_in_fp32_modules", None) or ())]
        _replace_linears(model, quantization, kind, skip)
    return model.requires_grad_(trained_backbone)


def _replace_linears(model: nn.Module, quantization: Quantization, compute: torch.dtype, skip: list[str]) -> None:
    for path, module in list(model.named_modules()):
        if type(module) is nn.Linear and not _is_skipped(path, skip):
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, quantization.build_fake_layer(module, compute))


def _is_skipped(path: str, names: list[str]) -> bool:
    """Whether transformers would skip the layer at a path, given these names of modules to skip."""
    return any(path == n or path.startswith(f"{n}.") or path.endswith(f".{n}") for n in names)
