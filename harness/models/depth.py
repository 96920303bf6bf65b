"""The number of blocks of a model's configuration, read and changed."""

from __future__ import annotations

from typing import Any

DEPTH = "num_hidden_layers"
KINDS = "layer_types"
"""A field with the kind of each block, such as full or sliding attention."""


def read_depth(config: Any) -> int | None:
    """The number of blocks if a model of fewer blocks is the same model cut short, as far as the configuration says.

    None for an encoder-decoder, for blocks of several kinds, and for a configuration with a list of values per block.
    """
    depth = getattr(config, DEPTH, None)
    if getattr(config, "is_encoder_decoder", False) or not isinstance(depth, int):
        return None
    fields = config.to_dict()
    per_block = {n for n, v in fields.items() if isinstance(v, list | tuple) and len(v) == depth and depth > 1}
    kinds = getattr(config, KINDS, None)
    if per_block - {KINDS} or (kinds is not None and len(set(kinds)) != 1):
        return None
    return depth


def set_depth(config: Any, layers: int | None) -> Any:
    """The configuration with so many blocks; unchanged for None."""
    if layers is not None:
        setattr(config, DEPTH, layers)
        if getattr(config, KINDS, None) is not None:
            setattr(config, KINDS, list(config.layer_types)[:1] * layers)
    return config
