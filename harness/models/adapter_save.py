"""Add to an exported adapter the backbone parameters that its base lacks, because they were drawn at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harness.core.errors import CellFailed
from harness.core.method import Exported

if TYPE_CHECKING:
    from torch import Tensor


def add_drawn_parameters(exported: Exported, drawn: Mapping[str, Tensor]) -> Exported:
    """The adapter with `drawn` (backbone parameters by name) in peft's `modules_to_save`, each as its whole module.

    peft puts no low-rank pair into such a module, so a pair there is merged into the module's weight. Raises CellFailed
    for an adapter of another kind there.
    """
    if not drawn:
        return exported
    config: Any = exported.config
    modules = sorted({name.rpartition(".")[0] for name in drawn})
    tops: list[str] = []
    for module in modules:  # sorted, so a parent comes before its submodules
        if not _is_within_any(module, tops):
            tops.append(module)
    prefix = "base_model." if config.is_prompt_learning else "base_model.model."
    values = {name: value.detach().cpu().clone().contiguous() for name, value in drawn.items()}
    tensors = dict(exported.tensors)
    saved_prefixes = tuple(f"{prefix}{top}." for top in tops)
    # Merge pairs into the saved modules first; their factors are dropped below.
    for name in [n for n in tensors if n.startswith(saved_prefixes)]:
        site, _, part = name.removeprefix(prefix).rpartition(".lora_")
        if config.peft_type != "LORA" or config.use_dora or part not in ("A.weight", "B.weight"):
            raise CellFailed(f"{name} is in a part that the base lacks, which peft cannot represent; leave it out")
        if part == "A.weight":
            a, b = tensors[name].double(), tensors[f"{prefix}{site}.lora_B.weight"].double()
            weight = values[f"{site}.weight"]
            values[f"{site}.weight"] = (weight.double() + _compute_scale(config, site, len(a)) * (b @ a)).to(weight)
    tensors = {n: v for n, v in tensors.items() if not n.startswith(saved_prefixes)}
    if isinstance(getattr(config, "target_modules", None), (list, set)):
        config.target_modules = [t for t in config.target_modules if not _is_within_any(t, tops)]
    config.modules_to_save = sorted({*(config.modules_to_save or []), *tops})
    return Exported(config, tensors | {prefix + name: value for name, value in values.items()})


def _is_within_any(path: str, tops: Sequence[str]) -> bool:
    return any(path == top or path.startswith(f"{top}.") for top in tops)


def _compute_scale(config: Any, site: str, rank: int) -> float:
    """The scale of a pair; in a configuration that we exported, patterns are full names of layers."""
    alpha = config.alpha_pattern.get(site, config.lora_alpha)
    return float(alpha) / (rank**0.5 if config.use_rslora else rank)
