"""Reading the adapter that a cell starts from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.adapter_source import AdapterSource
from harness.contracts import Initial
from harness.errors import UserError
from harness.files import hash_file

if TYPE_CHECKING:
    from torch import Tensor

PEFT_PREFIX = "base_model.model."
FACTOR = re.compile(r"(.+)\.lora_(A|B)(?:\.weight)?")


def load_initial(source: AdapterSource) -> Initial:
    """Its pairs and its head, on the CPU. Raises UserError for a file that holds something else."""
    tensors = {name.removeprefix(PEFT_PREFIX): value for name, value in _tensors(source).items()}
    factors: dict[str, dict[str, Tensor]] = {}
    head = {}
    for name, value in tensors.items():
        found = FACTOR.fullmatch(name)
        if found and value.dim() == 2:
            factors.setdefault(found[1], {})[found[2]] = value
        elif "lora_" in name:
            raise UserError(f"--init-from {source.ref.name}: {name} is no A or B of a linear layer")
        else:
            head[name] = value
    broken = [site for site, pair in factors.items() if len(pair) != 2]
    if broken or not factors:
        what = f"{broken[0]} has only one of A and B" if broken else "no low-rank pair in it"
        raise UserError(f"--init-from {source.ref.name}: {what}; its names must end in .lora_A and .lora_B")
    scale = (lambda site, rank: source.alpha / rank) if source.config is None else _scales(source.config)
    pairs = {site: (p["A"], p["B"], scale(site, len(p["A"]))) for site, p in factors.items()}
    ranks = [len(a) for a, _, _ in pairs.values()]
    return Initial(max(ranks) if source.config is None else int(source.config["r"]), pairs, head)


def _scales(config: Mapping[str, Any]) -> Any:
    """(site, rank) -> scale, with peft's alpha_pattern: keys are the end of a layer's name."""
    patterns: Mapping[str, float] = config.get("alpha_pattern") or {}

    def scale(site: str, rank: int) -> float:
        own = [v for k, v in patterns.items() if re.fullmatch(rf"(.*\.)?({k})", site)]
        alpha = float(own[0] if own else config["lora_alpha"])
        return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)

    return scale


def _tensors(source: AdapterSource) -> dict[str, Tensor]:
    """The tensors of a file; nothing but tensors is unpickled."""
    import torch

    try:
        if hash_file(source.weights) != source.ref.revision:
            raise OSError("it has changed since the run was planned")
        if source.weights.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(source.weights)
        else:
            found = torch.load(source.weights, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"--init-from {source.ref.name}: {source.weights.name} does not read: {reason}") from error
    if not isinstance(found, dict) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise UserError(f"--init-from {source.ref.name}: {source.weights.name} is no mapping of names to tensors")
    return found
