"""Whether a weights file has all that the model needs, by transformers' loading report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from harness.model_source import ModelSource

POOLER = "pooler"
"""The one part of a backbone that a file may lack: bases saved from a masked language model have none."""


def check_weights(
    source: ModelSource, model: nn.Module, report: Mapping[str, Any], outputs: int | None
) -> tuple[str, ...]:
    """Names of the poolers' parameters that were drawn at random, sorted; `outputs` is None for a language model.

    `report` is the loading report of `from_pretrained`. Raises UserError where any other pretrained weight is missing.
    """
    missing = sorted(name for name in report["missing_keys"] if outputs is None or in_backbone(model, name))
    drawn = tuple(name for name in missing if outputs is not None and POOLER in name.split("."))
    lacking = [name for name in missing if name not in drawn]
    if lacking:
        raise UserError(f"model '{source.name}': {len(lacking)} of its weights are missing: {lacking[0]}, ...")
    return drawn


def in_backbone(model: nn.Module, name: str) -> bool:
    """Whether a parameter belongs to the pretrained backbone (`base_model` of transformers), not to the task head."""
    prefix = str(getattr(model, "base_model_prefix", ""))
    return not prefix or not hasattr(model, prefix) or name.startswith(f"{prefix}.")
