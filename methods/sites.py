"""The sites of a method: the linear layers of the backbone that its option `target` selects."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.core.errors import UserError
from harness.core.method import Site

if TYPE_CHECKING:
    from torch import nn

# names of the query, key and value layers in the models of transformers
ALIASES: Mapping[str, frozenset[str]] = {
    "query": frozenset({"query", "query_proj", "q_proj", "q_lin", "q"}),
    "key": frozenset({"key", "key_proj", "k_proj", "k_lin", "k"}),
    "value": frozenset({"value", "value_proj", "v_proj", "v_lin", "v"}),
}

FUSED = re.compile(r"w?qkv(_proj)?|query_key_value|c_attn|in_proj", re.IGNORECASE)
"""Names of layers that compute query, key and value in one product."""


def find_sites(model: nn.Module, target: Sequence[str], rank: int) -> list[Site]:
    """The backbone's linear layers that `target` selects, in module order. Raises UserError for a name without layers.

    `attention` selects all layers in attention modules, also the output projection; `all-linear` also the feed-forward
    layers.
    """
    from methods.layers.replica_linear import find_backbone_linears, get_widths

    linears = find_backbone_linears(model)
    all_paths = [path for path, _ in linears]
    targeted: set[str] = set()
    for name in target:
        paths = {path for path in all_paths if _is_target(name, path)}
        if name in ALIASES and not paths:
            paths = _find_fused(model, all_paths)
        targeted |= paths
        if not paths:
            have = sorted({path.rpartition(".")[2] for path in all_paths})
            # Both words select layers in blocks, so a model without blocks has neither.
            have += [word for word in ("attention", "all-linear") if _selects_any(word, all_paths)]
            available = f"it has: {', '.join(have)}" if have else "it has none at all"
            raise UserError(f"target={name}: this model has no such linear layer; {available}")
    if "all-linear" in target:
        _refuse_tensors(model)
    chosen = [(path, *get_widths(linear)) for path, linear in linears if path in targeted]
    for path, *_ in chosen:
        if "experts" in path.split("."):  # routing mixes tokens of all replicas, so rows have no replica
            raise UserError(f"target: {path} is one of several experts, which no method trains; name other layers")
    return [Site(n, d_in, d_out, rank, _parse_layer(n), _get_input_key(n, d_in)) for n, d_in, d_out in chosen]


def _selects_any(word: str, paths: Sequence[str]) -> bool:
    return any(_is_target(word, path) for path in paths)


def _find_fused(model: nn.Module, paths: Sequence[str]) -> set[str]:
    """Layers that compute query, key and value in one product: peft's default targets, else known names."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS

    names = DEFAULTS.get(str(getattr(model.config, "model_type", "")))
    if isinstance(names, list):
        return {path for path in paths if path.rpartition(".")[2] in names}
    return {path for path in paths if FUSED.fullmatch(path.rpartition(".")[2]) and _is_target("attention", path)}


def _refuse_tensors(model: nn.Module) -> None:
    """Raise UserError where linear maps are bare tensors and not layers: experts of a mixture, XLNet's attention."""
    from torch import nn

    for path, module in model.named_modules():
        convolution = isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
        for name, value in module.named_parameters(recurse=False):
            if value.dim() == 3 and not convolution and _parse_layer(path) >= 0:
                problem = (
                    f"{path}.{name} holds several linear maps in one tensor (experts, heads), which no method trains"
                )
                raise UserError(f"target=all-linear: {problem}; name layers, e.g. target=attention")


def _is_target(name: str, path: str) -> bool:
    """Whether a word of `target` selects the linear layer at a path."""
    parents, _, last = path.rpartition(".")
    if name == "all-linear":
        return _parse_layer(path) >= 0
    if name == "attention":
        return _parse_layer(path) >= 0 and bool(re.search(r"attention|attn", parents, re.IGNORECASE))
    return last in ALIASES.get(name, frozenset({name}))


def _get_input_key(path: str, d_in: int) -> str:
    """A key that is equal for layers with the same input: query, key and value of a block are in one module."""
    return f"{path.rpartition('.')[0]} {d_in}"


def _parse_layer(path: str) -> int:
    """The number of the block that a module path lies in; -1 outside of blocks."""
    match = re.search(r"\.(\d+)(?:\.|$)", path)
    return int(match.group(1)) if match else -1
