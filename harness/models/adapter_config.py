"""Read peft's adapter_config.json: each field is read, known to have no effect, or refused by name.

Imports no torch.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Any

from harness.core.errors import UserError, quote, shorten
from harness.core.files import read_bytes

READ = frozenset({"peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "init_lora_weights"})
PLACES = frozenset({"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"})
"""Fields that select layers; peft's own rules are applied to them."""
WITHOUT_EFFECT = frozenset(
    "task_type auto_mapping peft_version base_model_name_or_path revision inference_mode lora_dropout fan_in_fan_out"
    " megatron_core loftq_config eva_config corda_config lora_ga_config qalora_group_size runtime_config".split()
)
"""Fields about training or about the file. Fields of an initialization act through `init_lora_weights` only."""
PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Values of `init_lora_weights` that do not change the base."""
MOST_BYTES = 1 << 20
"""Limit of the file's size: peft matches each layer name with each text in it. 1,000 layers take about 100 kB."""
MOST_ALPHA = 1e6
"""Limit of alpha in either direction, because a much larger one overflows to weights that are not finite."""
SECONDS = 4.0
"""Time limit for matching all patterns of a configuration with all layer names."""
PLAIN = re.compile(r"[\w-]+(\.[\w-]+)*")


def read_config(folder: Path, what: str) -> dict[str, Any]:
    """The fields of adapter_config.json with their types checked. Raises UserError; its message starts with `what`."""
    path = folder / "adapter_config.json"
    try:
        if path.is_file() and (size := path.stat().st_size) > MOST_BYTES:
            raise UserError(
                f"{what}: its adapter_config.json has {size} bytes; allowed: {MOST_BYTES}; save it again with peft"
            )
        content = read_bytes(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{what}: no adapter (no readable adapter_config.json) in {folder}") from error
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{what}: its adapter_config.json is not JSON; give a folder saved by peft") from error
    if not isinstance(config, dict) or not isinstance(config.get("peft_type"), str):
        raise UserError(f"{what}: its adapter_config.json is no object with a peft_type; give a folder saved by peft")
    if config["peft_type"] == "LORA":
        _check_numbers(config, what)
    return config


def _check_numbers(config: Mapping[str, Any], what: str) -> None:
    """Raise UserError where rank, alpha, or a value of their patterns is missing or not a number."""
    rank = ("a whole number of 1 or more", _is_rank)
    number = (f"a number from -{MOST_ALPHA:.0f} to {MOST_ALPHA:.0f}", _is_alpha)
    for field, (allowed, fits) in (("r", rank), ("lora_alpha", number)):
        if not fits(config.get(field)):
            value_text = quote(config[field]) if field in config else "missing"
            raise UserError(f"{what}: {field} in adapter_config.json is {value_text}; allowed: {allowed}")
    if not isinstance(config.get("use_rslora", False), (bool, NoneType)):
        value_text = quote(config["use_rslora"])
        raise UserError(f"{what}: use_rslora in adapter_config.json is {value_text}; allowed: true or false")
    for field, (allowed, fits) in (("rank_pattern", rank), ("alpha_pattern", number)):
        values = config.get(field)
        if values and not (isinstance(values, dict) and all(fits(v) for v in values.values())):
            raise UserError(f"{what}: {field} in adapter_config.json: allowed: names of layers, each with {allowed}")


def _is_alpha(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= MOST_ALPHA


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def check_plain(config: Mapping[str, Any], what: str) -> None:
    """Raise UserError, naming the field, unless the adapter is low-rank pairs on an unchanged base and nothing more."""
    if config["peft_type"] != "LORA":
        raise UserError(f"{what}: an adapter of type {shorten(config['peft_type'])}; allowed: plain LORA")
    start = config.get("init_lora_weights", True)
    if start not in PLAIN_STARTS:
        raise UserError(
            f"{what}: init_lora_weights={quote(start)} changes the base itself, so the pairs alone are another model;"
            " convert it (peft: save_pretrained with path_initial_model_for_weight_conversion)"
        )
    for field, value in config.items():
        is_allowed = field in READ or field in PLACES or field in WITHOUT_EFFECT
        if is_allowed or not value or (field == "bias" and value == "none"):
            continue
        raise UserError(
            f"{what}: an adapter of type LORA; allowed: plain LORA, bias none, no DoRA;"
            f" its adapter_config.json has {shorten(field)}={quote(value)}"
        )


def check_patterns(config: Mapping[str, Any], names: Sequence[str], what: str) -> None:
    """Raise UserError for a pattern that is not a regular expression, or that takes too long on these layer names.

    peft matches with `re`, which cannot be interrupted, so a process with a time limit tries the patterns first.
    """
    patterns = [p for p in _collect_patterns(config) if not PLAIN.fullmatch(p)]
    if not patterns or not names:
        return
    program = (
        "import json, re, sys\npatterns, names = json.load(sys.stdin)\n"
        "for p in patterns:\n    f = re.compile(rf'(?:.*\\.)?(?:{p})')\n    for n in names: f.fullmatch(n)\n"
    )
    try:
        process = subprocess.run(
            [sys.executable, "-I", "-c", program],
            input=json.dumps([patterns, list(names)]),
            text=True,
            capture_output=True,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        fields = ", ".join(_find_fields(config, patterns))
        raise UserError(
            f"{what}: a pattern in {fields} takes too long to match; write names of layers there"
        ) from error
    if process.returncode:
        fields = ", ".join(_find_fields(config, patterns))
        raise UserError(f"{what}: a pattern in {fields} is no regular expression; write names of layers there")


PATTERN_FIELDS = (
    "rank_pattern",
    "alpha_pattern",
    "target_modules",
    "exclude_modules",
    "layers_pattern",
    "modules_to_save",
    "trainable_token_indices",
    "feedforward_modules",
)


def _collect_patterns(config: Mapping[str, Any]) -> list[str]:
    return [pattern for field in PATTERN_FIELDS for pattern in _list_texts(config.get(field))]


def _list_texts(value: Any) -> Iterable[str]:
    """The texts in a field: one text, the items of a list, or the keys of a mapping."""
    return [value] if isinstance(value, str) else [str(v) for v in value] if isinstance(value, (list, dict)) else []


def _find_fields(config: Mapping[str, Any], patterns: Sequence[str]) -> list[str]:
    return [field for field in PATTERN_FIELDS if set(_list_texts(config.get(field))) & set(patterns)]
