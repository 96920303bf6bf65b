"""Check by transformers' loading report that a weights file has every weight that the model needs."""

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
"""The one part of a backbone that a file may lack: a base saved from a masked language model has no pooler."""
NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
"""A path component that is a number, such as the index of a layer or an expert."""
MOST_NAMES = 3


DRAWN = "newly_drawn_parameters"
"""The attribute of a loaded model that `list_drawn_parameters` reads."""


def list_drawn_parameters(model: nn.Module) -> tuple[str, ...]:
    """Sorted names of backbone parameters that the weights file lacks, so that they are drawn at random.

    The task head is not among them. Another program that loads the base draws other values, so a saved adapter must
    include these.
    """
    return getattr(model, DRAWN, ())


def describe_drawn_parameters(model: nn.Module) -> tuple[str, ...]:
    """A note that names the parameters drawn at random; empty where there are none."""
    names = list_drawn_parameters(model)
    if not names:
        return ()
    description = f"the weights file has no {' and no '.join(names)}"
    return (f"model: {description}: drawn at random from a fixed seed, and not trained unless the backbone is",)


def check_weights(
    source: ModelSource, model: nn.Module, report: Mapping[str, Any], outputs: int | None
) -> tuple[str, ...]:
    """Sorted names of the pooler's parameters that the file lacks, so that they are drawn at random.

    `report` is the loading report of `from_pretrained`; `outputs` is None for a language model. Raises UserError where
    any other pretrained weight is missing, or where the model has no place for a pretrained weight of the file.
    """
    model_label = f"model '{source.name}'"
    if report["mismatched_keys"]:
        raise UserError(f"{model_label}: {describe_shapes(report['mismatched_keys'], outputs)}")
    if report.get("error_msgs"):
        raise UserError(f"{model_label}: its weights do not load: {str(report['error_msgs'][0]).splitlines()[0]}")
    required = sorted(name for name in report["missing_keys"] if outputs is None or is_in_backbone(model, name))
    # Only a classifier reads a pooler, so one that is missing in a language model has no effect.
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
    """The problem and the remedy for tensors whose shapes differ between file and model, each (name, file, model)."""
    name, in_file, in_model = min(mismatched)
    shapes = f"{name} has {list(in_file)} in the file and {list(in_model)} in the model"
    outputs_text = f"{outputs} outputs" if outputs else "no outputs"
    problem = f"its weights have other shapes than its config.json and {outputs_text} ask for ({shapes})"
    return f"{problem}; give a base model, saved without a head"


def is_in_backbone(model: nn.Module, name: str) -> bool:
    """Whether a parameter belongs to the pretrained backbone (transformers' `base_model`) and not to the task head."""
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
    """The likely reason for missing weights, inferred from names, and the remedy."""
    bare = [name.removeprefix(_get_prefix(model)) for name in missing]
    if (prefix := _find_extra_prefix(bare, unexpected)) is not None:
        return f": its names begin with '{prefix}'; save the weights without this prefix"
    total, lacking = _count_missing_layers(model, missing)
    if lacking:
        return f": config.json asks for {total} layers, the file has {total - lacking}; correct config.json"
    return "; give a folder with all weights of the model"


def _find_extra_prefix(bare: list[str], unexpected: list[str]) -> str | None:
    """The prefix that at least half of the missing weights have in the file; None where there is no such prefix."""
    ends = set(bare)
    prefix_counts: Counter[str] = Counter()
    for name in unexpected:
        parts = name.split(".")
        # The longest suffix that is a missing name: a shorter one could match another layer by chance.
        cut = next((i for i in range(1, len(parts)) if ".".join(parts[i:]) in ends), None)
        if cut is not None:
            prefix_counts[".".join(parts[:cut]) + "."] += 1
    if not prefix_counts:
        return None
    prefix, count = prefix_counts.most_common(1)[0]
    return prefix if 2 * count >= len(bare) else None


def _count_missing_layers(model: nn.Module, missing: list[str]) -> tuple[int, int]:
    """(layers of the first stack with missing ones, number missing); (0, 0) where no whole layer is missing."""
    lacking = set(missing)
    for path, stack in model.named_modules():
        if type(stack).__name__ != "ModuleList":
            continue
        layers = dict(stack.named_children())
        missing_layers = 0
        for number, layer in layers.items():
            names = {f"{path}.{number}.{name}" for name, _ in layer.named_parameters()}
            missing_layers += names <= lacking
        if missing_layers:
            return len(layers), missing_layers
    return 0, 0


def _is_left_out(model: nn.Module, name: str) -> bool:
    """Whether a weight of the file that the model lacks belongs to the backbone, so config.json is wrong.

    That is a weight of a further layer, or a further tensor (a bias) of a layer that has weights.
    """
    prefix = _get_prefix(model)
    if prefix and not name.startswith(prefix) and hasattr(model, name.partition(".")[0]):
        return False  # a head of another task
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
