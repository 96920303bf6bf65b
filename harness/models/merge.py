"""Merge a saved adapter into its base: the result is one plain model folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError, quote
from harness.core.files import describe_os_error, replace_folder
from harness.core.presets import get_preset
from harness.core.stored_files import describe_damage, parse_record
from harness.models.adapter_config import check_patterns, read_config
from harness.models.adapter_files import build_label_fields, check_unchanged
from harness.models.source import ModelSource, read_model_config, resolve

if TYPE_CHECKING:
    from torch import nn

HEAD = re.compile(r"(.*\.)?(classifier|score|out_proj|logits_proj)\.weight")
CLASSIFIER, VIRTUAL = "SEQ_CLS", ("PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING", "CPT")
RANKS = ("r", "init_r", "target_r")
"""Fields of peft configurations that give the rank of tensors (LoRA: r; AdaLoRA: init_r, target_r)."""
WITHOUT_HEAD = ("CAUSAL_LM", "SEQ_2_SEQ_LM")


def merge(adapter: Path, model: str, out: Path) -> Path:
    """Write base and adapter as one model with its tokenizer; returns `out`. Raises UserError where they do not fit."""
    check_unchanged(adapter)
    config = read_config(adapter, str(adapter))
    shapes = _read_shapes(adapter)
    source = resolve(get_preset("quick"), "glue", model)
    _refuse_quantized(adapter, source.path, model)
    if config["peft_type"] in VIRTUAL:
        raise UserError(f"{adapter}: virtual tokens cannot be merged into weights; load it with peft instead")
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise UserError(f"--out {out}: it exists already; give a new folder")
    outputs = None if config.get("task_type") in WITHOUT_HEAD else _count_outputs(adapter, shapes)
    _check_sizes(config, shapes, str(adapter))
    # Imported here, because torch takes seconds to import and the checks above need none.
    from harness.models.load import load_model, load_tokenizer

    base = load_model(source, outputs)
    check_patterns(config, [name for name, _ in base.named_modules()], str(adapter))
    merged = _merge_adapter(base, adapter, shapes, model)
    # The base's own configuration, because loading set dropout rates to 0.
    merged.config = _build_config(source, adapter, outputs)
    _write(out, merged, load_tokenizer(source))
    return out


def _write(out: Path, *parts: Any) -> None:
    """Save model and tokenizer as one folder, as a whole or not at all. Raises UserError."""
    from safetensors import SafetensorError

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replace_folder(out) as whole:
            for part in parts:
                part.save_pretrained(whole)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"--out {out}: cannot write there: {describe_os_error(error)}; give a folder that can be written"
        ) from error


def _merge_adapter(base: Any, adapter: Path, shapes: Mapping[str, object], model: str) -> Any:
    """The base with the adapter merged into its weights. Raises UserError for a tensor that peft ignores or misses."""
    from peft import PeftModel
    from peft.utils.save_and_load import get_peft_model_state_dict

    try:
        loaded = PeftModel.from_pretrained(base, str(adapter))
        expected = {_strip_adapter_name(name) for name in get_peft_model_state_dict(loaded)}
        if unused := sorted(set(shapes) - expected):
            raise UserError(
                f"{adapter} does not fit --model {model}: it has {unused[0]}, which peft finds no place for"
            )
        if lacking := sorted(expected - set(shapes)):
            raise UserError(f"{adapter}: its adapter_config.json asks for {lacking[0]}, which its file lacks")
        whole: Any = loaded.base_model.model
        _unwrap_saved(whole)
        merged: Any = loaded.merge_and_unload()
    except UserError:
        raise
    except Exception as error:  # peft raises many kinds for a wrong configuration
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{adapter} does not fit --model {model}: {reason}; give its own model") from error
    _check_finite(merged, adapter)
    return merged


def _check_finite(model: nn.Module, adapter: Path) -> None:
    """Raise UserError for a weight that is not finite: alpha or a tensor of the adapter is too large."""
    for name, value in model.named_parameters():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise UserError(f"{adapter}: merged, {name} is not finite; give an adapter with finite tensors and alpha")


def _check_sizes(config: Mapping[str, Any], shapes: Mapping[str, Sequence[int]], what: str) -> None:
    """Raise UserError for ranks above any size in the file: peft would allocate such tensors and fill the memory."""
    if config.get("layer_replication"):
        raise UserError(f"{what}: layer_replication changes the number of layers; load it with peft instead")
    largest = max((size for shape in shapes.values() for size in shape), default=0)
    pattern = config.get("rank_pattern")
    ranks = [config.get(field) for field in RANKS] + [*(pattern.values() if isinstance(pattern, dict) else ())]
    for rank in ranks:
        if isinstance(rank, int) and rank > largest:
            raise UserError(
                f"{what}: rank {quote(rank)} in adapter_config.json is in none of its tensors; save it again"
            )


def _unwrap_saved(model: nn.Module) -> None:
    """Replace peft's wrappers by the saved modules; peft itself does so only for a head of one layer."""
    from peft.utils.other import ModulesToSaveWrapper

    for path, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, module.modules_to_save[module.active_adapters[0]])


def _strip_adapter_name(name: str) -> str:
    """A tensor's name without the name of the adapter, which files of older versions include."""
    return name.replace(".default", "")


def _build_config(source: ModelSource, adapter: Path, outputs: int | None) -> Any:
    """The base's configuration; a classifier's has the output names of the adapter's config.json. Raises UserError."""
    from transformers import AutoConfig

    labels: dict[str, Any] = {} if outputs is None else {"num_labels": outputs}
    config_file = adapter / "config.json"
    if outputs is not None and config_file.is_file():
        try:
            names = json.loads(config_file.read_text())["id2label"]
            ordered = [str(names[str(number)]) for number in range(outputs)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{config_file}: its id2label does not name {outputs} outputs; remove the file") from error
        labels = {name: value for name, value in build_label_fields(ordered).items() if len(names) == outputs} or labels
    config = AutoConfig.from_pretrained(str(source.path), local_files_only=True, trust_remote_code=False)
    config.update(labels)
    return config


def _refuse_quantized(adapter: Path, base: Path, model: str) -> None:
    """Raise UserError for a quantized base: rounding the merged weights gives another model than was scored."""
    record = adapter.resolve().parent.parent / "cells" / f"{adapter.resolve().name}.json"
    try:
        quantize = parse_record(record).cell.quantize if record.is_file() else "none"
    except (OSError, ValueError) as error:
        raise UserError(f"{record} cannot be read as a record: {describe_damage(error)}; run its cell again") from error
    if quantize == "none" and "quantization_config" in read_model_config(base, f"--model {model}"):
        raise UserError(f"--model {model}: its weights are quantized; merge needs them in floating point")
    if quantize != "none":
        raise UserError(
            f"{adapter}: trained on a base with quantize={quantize}, so it cannot be merged; load it with peft"
        )


def _read_shapes(adapter: Path) -> dict[str, list[int]]:
    """Name -> shape of each saved tensor. Raises UserError for a missing or damaged file."""
    from safetensors import SafetensorError, safe_open

    if not (adapter / "adapter_model.safetensors").is_file():
        raise UserError(f"{adapter}: no adapter_model.safetensors in it; give RUN/adapters/KEY")
    try:
        with safe_open(adapter / "adapter_model.safetensors", framework="np") as file:
            return {_strip_adapter_name(name): file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{adapter}: adapter_model.safetensors cannot be read: {error}; save it again") from error


def _count_outputs(adapter: Path, shapes: Mapping[str, list[int]]) -> int:
    """The number of outputs of the saved head. Raises UserError where there is no head."""
    widths = [shape[0] for name, shape in shapes.items() if HEAD.fullmatch(name) and "lora_" not in name]
    if not widths:
        raise UserError(f"{adapter}: no classification head in it; give an adapter that --save-adapters wrote")
    return int(widths[-1])
