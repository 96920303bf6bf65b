"""A frozen half in codes: never touched by training, and made anew once a draw with its error on record."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from harness.core.errors import UserError
from harness.core.method import METHODS
from harness.core.quantization import QUANTIZATIONS
from methods.layers.frozen import Quantized
from methods.layers.lowrank import LowRankLinear
from tests.harness.small_training import protocol, rows, train, trainer

pytest.importorskip("bitsandbytes")
LORASP = METHODS.get("lorasp")


def codes(model: nn.Module) -> list[Tensor]:
    layers = [m for m in model.modules() if isinstance(m, LowRankLinear)]
    stores = [packed.frozen for layer in layers for packed in (layer.a, layer.b) if packed.frozen is not None]
    return [tensor.clone() for store in stores for tensor in store.tensors()]


@pytest.mark.parametrize("select", ["random", "column", "a-only", "b-only", "fisher"])
@pytest.mark.parametrize("frozen", ["int8", "fp4", "nf4"])
def test_ten_steps_leave_the_codes_as_they_are(frozen: str, select: str, tiny_bert: Callable[..., nn.Module]) -> None:
    model = tiny_bert(dropout=0.1)
    method = LORASP(frozen=frozen, select=select)
    made, _ = trainer(model, [method], [protocol(max_steps=10, weight_decay=0.1)], [0], rows())
    before = codes(model)
    train(made)
    assert before and all(torch.equal(a, b) for a, b in zip(before, codes(model), strict=True))


@pytest.mark.parametrize("frozen", ["int8", "nf4"])
def test_a_draw_makes_codes_anew_once_and_records_what_that_moved(
    frozen: str, tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[float] = []
    put = Quantized.set_row

    def watched(self: Quantized, row: int, values: Tensor) -> float:
        wanted = values.clone()
        error = put(self, row, values)
        now = self.dequantize_rows()[row, : self.size]
        moved.append(float((now - wanted).abs().sum()))
        return error

    monkeypatch.setattr(Quantized, "set_row", watched)
    made, attached = trainer(tiny_bert(), [LORASP(frozen=frozen, resample=3)], [protocol(max_steps=9)], [0], rows())
    train(made)
    assert len(moved) == 2 * 2 * 4  # two draws, of A and B at four sites
    assert attached.collect_extra(0)["resample_error"] == pytest.approx(sum(moved)) and all(m > 0 for m in moved)


@pytest.mark.parametrize("frozen", ["int8", "fp4", "nf4"])
def test_zero_is_stored_as_zero(frozen: str) -> None:
    values = torch.zeros(1, 130, dtype=torch.float64)
    values[0, ::3] = torch.linspace(-1, 1, 44)
    kept = Quantized(values, frozen).dequantize_rows()[0, :130]
    assert bool((kept[values[0] == 0] == 0).all()) and float((kept - values[0]).abs().max()) < 0.2


@pytest.mark.parametrize("level", ["int8", "fp4", "nf4"])
def test_nothing_is_copied_from_the_host_where_codes_are_read(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table made anew in each step would be, which no captured graph allows."""
    from bitsandbytes import functional

    made = Quantized(torch.randn(2, 100, generator=torch.Generator().manual_seed(0)), level)
    before = made.dequantize_rows()
    for name in ("create_linear_map", "get_4bit_type"):
        monkeypatch.setattr(functional, name, None)
    assert torch.equal(made.dequantize_rows(), before)


@pytest.mark.parametrize("frozen", ["int8", "fp4", "nf4"])
def test_counted_bytes_are_those_of_the_stored_tensors(frozen: str) -> None:
    stored = Quantized(torch.randn(1, 130, generator=torch.Generator().manual_seed(0)), frozen).tensors()
    measured = sum(tensor.numel() * tensor.element_size() for tensor in stored)
    assert QUANTIZATIONS.get(frozen).count_vector_bytes(130) == measured


@pytest.mark.parametrize("frozen", ["nf4-dq", "sim3", "nf5"])
def test_a_type_that_stores_no_vectors_is_refused(frozen: str) -> None:
    with pytest.raises(UserError, match=r"allowed: none, fp4, int8, nf4$"):
        LORASP(frozen=frozen).check()
