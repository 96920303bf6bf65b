"""Whether a weights file holds all that the model needs, by transformers' loading report."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError

if TYPE_CHECKING:
    from torch import nn

    from harness.models.source import ModelSource

POOLER = "pooler"
"""The one part of a backbone that a file may lack: bases saved from a masked language model have none."""
NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
"""A part of a path that is a number: that of a layer or an expert."""
MOST_NAMES = 3


def check_weights(
    source: ModelSource, model: nn.Module, report: Mapping[str, Any], outputs: int | None
) -> tuple[str, ...]:
    """Names of the poolers' parameters that are drawn at random, sorted; `outputs` is None for a language model.

    `report` is the loading report of `from_pretrained`. Raises UserError where any other pretrained weight is missing,
    or where the file has pretrained weights that the model leaves out.
    """
    model_label = f"model '{source.name}'"
    if report["mismatched_keys"]:
        raise UserError(f"{model_label}: {describe_shapes(report['mismatched_keys'], outputs)}")
    if report.get("error_msgs"):
        raise UserError(f"{model_label}: its weights do not load: {str(report['error_msgs'][0]).splitlines()[0]}")
    required = sorted(name for name in report["missing_keys"] if outputs is None or is_in_backbone(model, name))
    # a language model reads the pooler of nothing, so only a classifier's matters
    drawn = [name for name in required if outputs is not None and POOLER in name.split(".")]
    missing = [name for name in required if name not in drawn]
    unexpected = sorted(report["unexpected_keys"])
    if missing:
        cause = _describe_cause(model, missing, unexpected)
        raise UserError(f"{model_label}: its file lacks {_format_names(missing)} that the model has{cause}")
    dropped = [name for name in unexpected if _is_left_out(model, name)]
    if dropped:
        raise UserError(
            f"{model_label}: its config.json leaves out {_format_names(dropped)} that the file has;"
            " give the config.json that the weights were saved with"
        )
    return tuple(drawn)


def describe_shapes(mismatched: Collection[tuple[str, Iterable[int], Iterable[int]]], outputs: int | None) -> str:
    """What is wrong and what to do, for tensors whose shape in the file is another than in the model."""
    name, in_file, in_model = min(mismatched)
    shapes = f"{name} has {list(in_file)} in the file and {list(in_model)} in the model"
    outputs_text = f"{outputs} outputs" if outputs else "no outputs"
    problem = f"its weights have other shapes than its config.json and {outputs_text} ask for ({shapes})"
    return f"{problem}; give a base model, saved without a head"


def is_in_backbone(model: nn.Module, name: str) -> bool:
    """Whether a parameter belongs to the pretrained backbone (`base_model` of transformers), not to the task head."""
    prefix = _get_prefix(model)
    return not prefix or name.startswith(prefix)


def _get_prefix(model: nn.Module) -> str:
    """'bert.' where the backbone is the model's attribute bert; '' where the model is the backbone."""
    name = str(getattr(model, "base_model_prefix", ""))
    return f"{name}." if name and hasattr(model, name) else ""


def _format_names(names: list[str]) -> str:
    """'41 weights (a, b, c, ...)'."""
    more = ", ..." if len(names) > MOST_NAMES else ""
    return f"{len(names)} weight{'s' * (len(names) > 1)} ({', '.join(names[:MOST_NAMES])}{more})"


def _describe_cause(model: nn.Module, missing: list[str], unexpected: list[str]) -> str:
    """Why weights are missing, as far as the names say so, and what to do."""
    bare = [name.removeprefix(_get_prefix(model)) for name in missing]
    if (prefix := _find_extra_prefix(bare, unexpected)) is not None:
        return f": its names begin with '{prefix}'; save the weights without this prefix"
    total, lacking = _count_missing_layers(model, missing)
    if lacking:
        return f": config.json asks for {total} layers, the file has {total - lacking}; correct config.json"
    return "; give a folder with all weights of the model"


def _find_extra_prefix(bare: list[str], unexpected: list[str]) -> str | None:
    """What most missing weights have before their name in the file, where half of them or more are there."""
    ends = set(bare)
    prefix_counts: Counter[str] = Counter()
    for name in unexpected:
        parts = name.split(".")
        # the longest end that is missing is the weight itself
        cut = next((i for i in range(1, len(parts)) if ".".join(parts[i:]) in ends), None)
        if cut is not None:
            prefix_counts[".".join(parts[:cut]) + "."] += 1
    if not prefix_counts:
        return None
    prefix, count = prefix_counts.most_common(1)[0]
    return prefix if 2 * count >= len(bare) else None


def _count_missing_layers(model: nn.Module, missing: list[str]) -> tuple[int, int]:
    """Layers of the stack that lacks its last ones, and how many it lacks; (0, 0) where no whole layer is missing."""
    lacking = set(missing)
    for path, stack in model.named_modules():
        if type(stack).__name__ != "ModuleList":
            continue
        whole = [
            all(f"{path}.{number}.{name}" in lacking for name, _ in layer.named_parameters())
            for number, layer in stack.named_children()
        ]
        if any(whole):
            return len(whole), sum(whole)
    return 0, 0


def _is_left_out(model: nn.Module, name: str) -> bool:
    """Whether a name of the file, which the model lacks, is that of a pretrained weight that the config leaves out.

    That is a weight of a further layer, or a further tensor of a layer that has weights (a bias).
    """
    prefix = _get_prefix(model)
    if prefix and not name.startswith(prefix) and hasattr(model, name.partition(".")[0]):
        return False  # a head
    bare = name.removeprefix(prefix)
    patterns = {
        NUMBER.sub("#", parameter_name.removeprefix(prefix))
        for parameter_name, _ in model.named_parameters()
        if is_in_backbone(model, parameter_name)
    }
    if NUMBER.search(bare) and NUMBER.sub("#", bare) in patterns:
        return True
    parent, _, _ = bare.rpartition(".")
    modules = dict(model.named_modules())
    module = modules.get(prefix + parent)
    return bool(parent) and module is not None and any(True for _ in module.parameters(recurse=False))
