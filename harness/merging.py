"""A saved adapter merged into its base: one plain model folder."""

from __future__ import annotations

import json
import re
from pathlib import Path

from harness.adapter_files import check_unchanged
from harness.errors import UserError
from harness.model_source import resolve
from harness.models import load_model, load_tokenizer
from harness.presets import preset
from harness.store import parse_record

HEAD = re.compile(r"(.*\.)?(classifier|score|out_proj)\.weight")


def merge(adapter: Path, model: str, out: Path) -> Path:
    """Write base and adapter as one model, with its tokenizer. Raises UserError where they cannot be one."""
    check_unchanged(adapter)
    config = _config(adapter)
    source = resolve(preset("quick"), "glue", model)
    _refuse_quantized(adapter, source.path, model)
    if config.get("peft_type") in ("PROMPT_TUNING", "PREFIX_TUNING"):
        raise UserError(f"{adapter}: virtual tokens are no part of a weight; load it with peft in place of merging")
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise UserError(f"--out {out}: it is there already; give a new folder")
    from peft import PeftModel
    from transformers import AutoConfig

    outputs = _outputs(adapter)
    base = load_model(source, outputs)
    try:
        whole = PeftModel.from_pretrained(base, str(adapter)).merge_and_unload()
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{adapter} does not fit --model {model}: {reason}; give its own model") from error
    whole.config = AutoConfig.from_pretrained(
        str(source.path), num_labels=outputs, local_files_only=True, trust_remote_code=False
    )  # dropout as it was, not as scored
    whole.save_pretrained(out)
    load_tokenizer(source).save_pretrained(out)
    return out


def _config(adapter: Path) -> dict[str, object]:
    try:
        found: dict[str, object] = json.loads((adapter / "adapter_config.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{adapter}: no adapter (no readable adapter_config.json); give RUN/adapters/KEY") from error
    if not (adapter / "adapter_model.safetensors").is_file():
        raise UserError(f"{adapter}: no adapter_model.safetensors in it; give RUN/adapters/KEY")
    return found


def _refuse_quantized(adapter: Path, base: Path, model: str) -> None:
    """A low-rank update rounded to a level's codes would be another model than the one that was scored."""
    record = adapter.resolve().parent.parent / "cells" / f"{adapter.resolve().name}.json"
    level = parse_record(record).cell.quantize if record.is_file() else "none"
    if level == "none" and "quantization_config" in json.loads((base / "config.json").read_text()):
        raise UserError(f"--model {model}: its weights are quantized; merge needs them in floating point")
    if level != "none":
        raise UserError(f"{adapter}: trained on a base at quantize={level}, so it cannot be merged; load it with peft")


def _outputs(adapter: Path) -> int:
    """Width of the saved head."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(adapter / "adapter_model.safetensors", framework="np") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{adapter}: adapter_model.safetensors does not read: {error}; save it again") from error
    widths = [shape[0] for name, shape in shapes.items() if HEAD.fullmatch(name)]
    if not widths:
        raise UserError(f"{adapter}: no classification head in it; give an adapter that --save-adapters wrote")
    return int(widths[-1])
