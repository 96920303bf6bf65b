"""A saved adapter merged into its base: one plain model folder."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.presets import preset
from harness.core.store import parse_record
from harness.models.adapter_config import check_patterns, read_config
from harness.models.adapter_files import check_unchanged, label_fields
from harness.models.load import load_model, load_tokenizer
from harness.models.source import ModelSource, resolve

if TYPE_CHECKING:
    from torch import nn

HEAD = re.compile(r"(.*\.)?(classifier|score|out_proj|logits_proj)\.weight")
CLASSIFIER, VIRTUAL = "SEQ_CLS", ("PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING", "CPT")
WITHOUT_HEAD = ("CAUSAL_LM", "SEQ_2_SEQ_LM")


def merge(adapter: Path, model: str, out: Path) -> Path:
    """Write base and adapter as one model, with its tokenizer. Raises UserError where they cannot be one."""
    check_unchanged(adapter)
    config = read_config(adapter, str(adapter))
    shapes = _shapes(adapter)
    source = resolve(preset("quick"), "glue", model)
    _refuse_quantized(adapter, source.path, model)
    if config["peft_type"] in VIRTUAL:
        raise UserError(f"{adapter}: virtual tokens are no part of a weight; load it with peft in place of merging")
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise UserError(f"--out {out}: it is there already; give a new folder")
    outputs = None if config.get("task_type") in WITHOUT_HEAD else _outputs(adapter, shapes)
    base = load_model(source, outputs)
    check_patterns(config, [name for name, _ in base.named_modules()], str(adapter))
    merged = _merged(base, adapter, shapes, model)
    merged.config = _config(source, adapter, outputs)  # dropout as it was, not as scored
    merged.save_pretrained(out)
    load_tokenizer(source).save_pretrained(out)
    return out


def _merged(base: Any, adapter: Path, shapes: Mapping[str, object], model: str) -> Any:
    """The base with the adapter in its weights. Raises UserError where peft drops or lacks a tensor."""
    from peft import PeftModel
    from peft.utils.save_and_load import get_peft_model_state_dict

    try:
        loaded = PeftModel.from_pretrained(base, str(adapter))
        unused = sorted(set(shapes) - {_plain(name) for name in get_peft_model_state_dict(loaded)})
        if unused:
            raise UserError(
                f"{adapter} does not fit --model {model}: it has {unused[0]}, which peft finds no place for"
            )
        whole: Any = loaded.base_model.model
        _unwrap_saved(whole)
        return loaded.merge_and_unload()
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{adapter} does not fit --model {model}: {reason}; give its own model") from error


def _unwrap_saved(model: nn.Module) -> None:
    """Put the saved modules in the place of peft's wrappers; peft itself does so for a head of one layer only."""
    from peft.utils.other import ModulesToSaveWrapper

    for path, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, module.modules_to_save[module.active_adapters[0]])


def _plain(name: str) -> str:
    """A tensor's name without the adapter's, which old files have in it."""
    return name.replace(".default", "")


def _config(source: ModelSource, adapter: Path, outputs: int | None) -> Any:
    """The base's configuration; a classifier's names its outputs as the adapter's own config.json does."""
    from transformers import AutoConfig

    labels: dict[str, Any] = {} if outputs is None else {"num_labels": outputs}
    own = adapter / "config.json"
    if outputs is not None and own.is_file():
        try:
            names = json.loads(own.read_text())["id2label"]
            ordered = [str(names[str(number)]) for number in range(outputs)]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{own}: its id2label does not name {outputs} outputs; remove the file") from error
        labels = {name: value for name, value in label_fields(ordered).items() if len(names) == outputs} or labels
    config = AutoConfig.from_pretrained(str(source.path), local_files_only=True, trust_remote_code=False)
    config.update(labels)
    return config


def _refuse_quantized(adapter: Path, base: Path, model: str) -> None:
    """A low-rank update rounded to a level's codes would be another model than the one that was scored."""
    record = adapter.resolve().parent.parent / "cells" / f"{adapter.resolve().name}.json"
    level = parse_record(record).cell.quantize if record.is_file() else "none"
    if level == "none" and "quantization_config" in json.loads((base / "config.json").read_text()):
        raise UserError(f"--model {model}: its weights are quantized; merge needs them in floating point")
    if level != "none":
        raise UserError(f"{adapter}: trained on a base at quantize={level}, so it cannot be merged; load it with peft")


def _shapes(adapter: Path) -> dict[str, list[int]]:
    """Name -> shape of the saved tensors. Raises UserError."""
    from safetensors import SafetensorError, safe_open

    if not (adapter / "adapter_model.safetensors").is_file():
        raise UserError(f"{adapter}: no adapter_model.safetensors in it; give RUN/adapters/KEY")
    try:
        with safe_open(adapter / "adapter_model.safetensors", framework="np") as file:
            return {_plain(name): file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{adapter}: adapter_model.safetensors does not read: {error}; save it again") from error


def _outputs(adapter: Path, shapes: Mapping[str, list[int]]) -> int:
    """Width of the saved head."""
    widths = [shape[0] for name, shape in shapes.items() if HEAD.fullmatch(name) and "lora_" not in name]
    if not widths:
        raise UserError(f"{adapter}: no classification head in it; give an adapter that --save-adapters wrote")
    return int(widths[-1])
