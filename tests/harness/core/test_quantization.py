"""Quantization types: one object per type, a plugin's like ours, and stored records that need no plugin to be read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from harness.cli.main import main
from harness.core.cell import Cell
from harness.core.errors import UserError
from harness.core.method import METHODS
from harness.core.presets import get_preset
from harness.core.quantization import QUANTIZATIONS, get_quantization_of
from harness.core.registry import load_all
from harness.core.spec_reading import make_spec
from harness.core.stored_files import parse_record
from harness.models.load import load_model
from harness.models.source import resolve
from harness.planning.plan import make_plan
from tests.harness.test_plugins import SMALL, registered, write

PLUGIN = """
from harness.core.quantization import register_quantization
from harness.models.quantization.simulated import SimulatedBits

register_quantization(SimulatedBits(name="sim4", summary="4 bits, simulated", bits=4))
"""
SIZE = (128, 64)
"""Rows and columns of the larger matrices of the embedded encoder."""


def make_cells(quantize: str, *plugins: Path) -> list[Cell]:
    spec = make_spec({"tasks": ("rte",), "seeds": "1", "methods": "lora", "quantize": quantize, "plugin": plugins})
    load_all(plugins)
    return [planned.cell for planned in make_plan(spec).cells]


def test_a_type_is_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = write(tmp_path / "one.py", PLUGIN)
    words = ["run", "--methods", "lora:quantize=sim4", "--plugin", str(plugin), *SMALL, "--out", str(tmp_path / "out")]
    with registered():
        assert main(words) == 0
        expected_key = make_cells("sim4", plugin)[0].parts
    (path,) = (tmp_path / "out" / "cells").glob("*.json")
    record = parse_record(path)  # without the plugin, as `report` reads it
    assert "sim4" not in QUANTIZATIONS and record.status == "ok" and record.cell.quantize == "sim4"
    assert record.cell.is_simulated and record.cell.key == path.stem and record.cell.parts == expected_key
    assert record.extra["quantize"] == "simulated, scores only"
    capsys.readouterr()
    assert main(["report", str(tmp_path / "out")]) == 0
    assert "sim4 (simulated)" in (tmp_path / "out" / "report" / "report.md").read_text()


def test_the_source_of_a_plugins_type_is_in_the_key_of_its_cells_only(tmp_path: Path) -> None:
    keys = []
    for source in (PLUGIN, PLUGIN + "# edited\n"):
        with registered():
            keys.append([cell.key for cell in make_cells("sim3,sim4", write(tmp_path / "one.py", source))])
    (sim3, first), (same, edited) = keys
    assert sim3 == same == make_cells("sim3")[0].key and first != edited


def test_a_plugin_cannot_take_the_name_of_ours(tmp_path: Path) -> None:
    plugin = write(tmp_path / "one.py", PLUGIN.replace("sim4", "sim3"))
    with registered(), pytest.raises(UserError, match="'sim3' is already registered"):
        load_all([plugin])


@pytest.mark.parametrize(("quantize", "key"), [("nf4", "421be97597cdd9d0"), ("sim3", "046bff5d700d2125")])
def test_keys_are_those_of_earlier_versions(quantize: str, key: str) -> None:
    """Computed when types were values of a Literal."""
    assert [cell.key for cell in make_cells(quantize)] == [key]


def test_an_unknown_type_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UserError, match="'nf5': did you mean 'nf4'"):
        make_spec({"quantize": "none,nf5"})
    (cell,) = make_cells("none")
    with pytest.raises(ValidationError, match="did you mean 'nf4'"):
        Cell.model_validate(cell.model_dump() | {"quantize": "nf5"})


def test_the_registry_loads_no_torch() -> None:
    code = (
        "import sys; from harness.core.quantization import QUANTIZATIONS;"
        "assert 'nf4' in QUANTIZATIONS and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])


@pytest.mark.parametrize("name", QUANTIZATIONS.names())
def test_layout_and_dense_form_are_those_of_a_loaded_layer(name: str) -> None:
    """Bytes against the tensors that bitsandbytes made; the dense form against the weights it was made from."""
    quantization = QUANTIZATIONS.get(name)
    if not quantization.is_float:
        pytest.importorskip("bitsandbytes")
    source = resolve(get_preset("quick"), "glue", None)
    layers = [dict(load_model(source, 2, quantize=q).named_modules()) for q in ("none", name)]
    path = next(n for n, m in layers[0].items() if isinstance(m, nn.Linear) and tuple(m.weight.shape) == SIZE)
    plain, stored = (layer[path] for layer in layers)
    assert isinstance(plain, nn.Linear) and isinstance(stored, nn.Linear)
    by_class = get_quantization_of(stored.weight)
    assert by_class.weight_class == quantization.weight_class

    tensors = [stored.weight, *quantization.list_state(stored, stored.weight)]
    measured = sum(t.numel() * t.element_size() for t in tensors)
    assert sum(tensor.bytes for tensor in quantization.layout(*SIZE)) == measured
    assert quantization.count_weights(stored.weight) == SIZE[0] * SIZE[1]

    dense = quantization.to_dense(stored.weight)
    assert dense.shape == plain.weight.shape and dense.is_floating_point()
    x = torch.randn(4, SIZE[1], generator=torch.Generator().manual_seed(0))
    expected = nn.functional.linear(x, dense.float(), stored.bias)
    # int8 also rounds each row of activations, to 1 part in 254 of its largest
    tolerance = 0.05 if name == "int8" else 1e-5
    torch.testing.assert_close(stored(x), expected, rtol=0, atol=tolerance)


def test_bytes_per_weight_by_hand() -> None:
    """Of 4096 x 4096: codes, scales per row or per block of 64, tables; the paper of QLoRA says 0.127 bits for -dq."""
    count = 4096 * 4096
    per_weight = {}
    for name, quantization in QUANTIZATIONS:
        per_weight[name] = sum(tensor.bytes for tensor in quantization.layout(4096, 4096)) / count
    assert per_weight["none"] == per_weight["sim2"] == 4
    assert per_weight["int8"] == 1 + 4 / 4096
    assert per_weight["nf4"] == per_weight["fp4"] == 0.5 + 4 / 64 + 16 * 4 / count
    assert 8 * (per_weight["nf4-dq"] - 0.5) == pytest.approx(0.127, abs=1e-3)
    (weight,) = QUANTIZATIONS.get("none").layout(64, 64, "bfloat16")
    assert weight.bytes == 2 * 64 * 64


def test_a_method_refuses_every_type_of_a_storage() -> None:
    assert METHODS.get("dora").unfit_weights.keys() == {QUANTIZATIONS.get("int8").weight_class}
