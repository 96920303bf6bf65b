"""Read the adapter that a cell starts from (`--init-from`)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError, quote
from harness.core.files import hash_file
from harness.core.method import Initial
from harness.models.adapter_config import PLACES, check_patterns
from harness.models.adapter_source import AdapterSource

if TYPE_CHECKING:
    from torch import Tensor

PEFT_PREFIX = "base_model.model."
FACTOR = re.compile(r"(.+)\.lora_(A|B)(?:\.default)?(?:\.weight)?")
SAVED = re.compile(r"(.+?)\.(?:modules_to_save\.)(?:default\.)?(.+)")
"""Names of tensors in `modules_to_save`, as older versions of peft write them."""


def load_initial(source: AdapterSource) -> Initial:
    """The pairs (A [r, d_in], B [d_out, r], scale) by site and the head, on the CPU.

    Raises UserError for a file with anything else.
    """
    label = f"--init-from {source.ref.name}"
    factors: dict[str, dict[str, Tensor]] = {}
    head = {}
    for name, value in _strip_prefixes(_read_tensors(source), label).items():
        match = FACTOR.fullmatch(name)
        if match and value.dim() == 2:
            if match[2] in factors.setdefault(match[1], {}):
                raise UserError(
                    f"{label}: two tensors in its file are {match[2]} of {match[1]}; save it again with peft"
                )
            factors[match[1]][match[2]] = value
        elif "lora_" in name:
            raise UserError(f"{label}: {name} is no A or B of a linear layer")
        else:
            head[name] = value
    broken = [site for site, pair in factors.items() if len(pair) != 2]
    if broken or not factors:
        lack = f"{broken[0]} has only one of A and B" if broken else "no low-rank pair in it"
        raise UserError(f"{label}: {lack}; its names must end in .lora_A and .lora_B")
    if source.config is None:
        scales = {site: source.alpha / len(pair["A"]) for site, pair in factors.items()}
        rank = 0
    else:
        scales = _compute_scales(source.config, {site: len(pair["A"]) for site, pair in factors.items()}, label)
        rank = int(source.config["r"])
    pairs = {site: (pair["A"], pair["B"], scales[site]) for site, pair in factors.items()}
    return Initial(max(rank, *(len(a) for a, _, _ in pairs.values())), pairs, head)


def _strip_prefixes(tensors: Mapping[str, Tensor], what: str) -> dict[str, Tensor]:
    """The tensors by their names in the model. Raises UserError where two tensors have the same name."""
    named: dict[str, Tensor] = {}
    for name, value in tensors.items():
        plain = name.removeprefix(PEFT_PREFIX)
        saved = SAVED.fullmatch(plain)
        plain = f"{saved[1]}.{saved[2]}" if saved else plain
        if plain in named:
            raise UserError(f"{what}: two tensors in its file are named {plain}; save it again with peft")
        named[plain] = value
    return named


def _compute_scales(config: Mapping[str, Any], ranks: Mapping[str, int], what: str) -> dict[str, float]:
    """Site -> scale, computed from the configuration as peft does it.

    Raises UserError for a site that the configuration does not target, or whose rank in the file is another.
    """
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists
    from peft.utils.other import get_pattern_key

    check_patterns(config, list(ranks), what)
    places = {field: config[field] for field in PLACES if config.get(field) is not None}
    # peft resolves "all-linear" against a model; here the file's own sites are all there are.
    if places.get("target_modules", "all-linear") == "all-linear":
        places["target_modules"] = ".*"
    rank_of: Mapping[str, int] = config.get("rank_pattern") or {}
    alpha_of: Mapping[str, float] = config.get("alpha_pattern") or {}
    try:
        targets = LoraConfig(**places)
        named = {site: bool(check_target_module_exists(targets, site)) for site in ranks}
    except (TypeError, ValueError, AttributeError, UnboundLocalError) as error:
        raise UserError(f"{what}: its adapter_config.json names no layers that peft understands: {error}") from error
    scales = {}
    for site, rank in ranks.items():
        if not named[site]:
            raise UserError(f"{what}: its file has {site}, which target_modules and related fields exclude")
        wanted = rank_of.get(get_pattern_key(list(rank_of), site), config["r"])
        if wanted != rank:
            raise UserError(f"{what}: {site} has rank {rank} in its file, {quote(wanted)} in its adapter_config.json")
        alpha = float(alpha_of.get(get_pattern_key(list(alpha_of), site), config["lora_alpha"]))
        scales[site] = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    return scales


def _read_tensors(source: AdapterSource) -> dict[str, Tensor]:
    """The tensors of a file. Unpickles nothing but tensors. Raises UserError for a file that is changed or damaged."""
    import torch

    try:
        # The cell key contains this hash, so other weights must not train under that key.
        if hash_file(source.weights) != source.ref.revision:
            raise OSError("it has changed since the run was planned")
        if source.weights.suffix == ".safetensors":
            from safetensors.torch import load_file

            tensors: Any = load_file(source.weights)
        else:
            tensors = torch.load(source.weights, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"--init-from {source.ref.name}: {source.weights.name} cannot be read: {reason}") from error
    if not isinstance(tensors, dict) or not all(isinstance(v, torch.Tensor) for v in tensors.values()):
        raise UserError(f"--init-from {source.ref.name}: {source.weights.name} is no mapping of names to tensors")
    return tensors
