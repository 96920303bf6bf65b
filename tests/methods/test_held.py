"""Frozen entries at zero, and the size of the first update: against plain LoRA and closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.cli.main import main
from harness.core.errors import NotApplicable
from harness.core.method import METHODS, Masks, Method
from harness.core.seeds import Streams, equal
from methods.layers.lowrank import LowRankLinear
from methods.sites import find_sites
from tests.harness.small_training import protocol, rows, train, trainer

LORA, LORASP = METHODS.get("lora"), METHODS.get("lorasp")
BY_DIRECTION = 2 / math.pi
"""E[sign(z) z]^2 of a standard normal z."""


def layers(model: nn.Module) -> dict[str, LowRankLinear]:
    return {name: m for name, m in model.named_modules() if isinstance(m, LowRankLinear)}


def draw_masks(method: Method, model: nn.Module, seed: int) -> Masks:
    sites = find_sites(model, method.target, method.rank)  # type: ignore[attr-defined]
    masks: Masks = method.masks(sites, Streams(equal(seed)), None)  # type: ignore[attr-defined]
    return masks


@pytest.mark.parametrize("options", [{}, {"zero": "a"}, {"select": "column"}, {"select": "row", "rank": 4}])
def test_frozen_entries_stay_exactly_zero(options: dict[str, object], tiny_bert: Callable[..., nn.Module]) -> None:
    method, model = LORASP(held="zero", **options), tiny_bert()
    masks = draw_masks(method, model, 2)
    made, _ = trainer(model, [method], [protocol(weight_decay=0.5)], [2], rows())
    train(made)
    for name, layer in layers(model).items():
        assert layer.a.shape[1] == len(masks[name][0])
        for packed, mask in zip((layer.a, layer.b), masks[name], strict=True):
            values = packed.dense()[0].detach().numpy()
            assert not mask.all() and not values[~mask].any() and values[mask].any()


def test_the_first_gradient_is_that_of_lora_with_these_entries_at_zero(tiny_bert: Callable[..., nn.Module]) -> None:
    """LoRA, whose A has zeros there, gives the same loss; its gradient is kept where entries train."""
    method, sparse, dense = LORASP(held="zero", rank=4), tiny_bert(), tiny_bert()
    masks = draw_masks(method, sparse, 1)
    assert all(
        np.array_equal(a, b)
        for name, pair in draw_masks(LORASP(rank=4), dense, 1).items()
        for a, b in zip(pair, masks[name], strict=True)
    )
    settings = [protocol(max_steps=1, clip=1e9)]
    first, _ = trainer(sparse, [method], settings, [1], rows())
    second, _ = trainer(dense, [LORA(rank=4)], settings, [1], rows())
    generator = torch.Generator().manual_seed(0)
    for name, layer in layers(dense).items():
        own, (mask_a, mask_b) = layers(sparse)[name], map(torch.from_numpy, masks[name])
        # B away from zero, so that A has a gradient too
        b = torch.randn(own.b.shape[1:], generator=generator, dtype=torch.float64) * mask_b
        with torch.no_grad():
            layer.a.dense().copy_(layer.a.dense() * mask_a)
            layer.b.dense().copy_(b[None])
            assert own.b.leaf is not None
            own.b.leaf.tensor.copy_(b[mask_b][None])
            own.b.matrices.invalidate()  # type: ignore[union-attr]
        torch.testing.assert_close(own.a.dense(), layer.a.dense(), rtol=0, atol=0)
        torch.testing.assert_close(own.b.dense(), layer.b.dense(), rtol=0, atol=0)
    first.train_step(0)
    second.train_step(0)
    for name, layer in layers(dense).items():
        own = layers(sparse)[name]
        for ours, reference, mask in zip((own.a, own.b), (layer.a, layer.b), masks[name], strict=True):
            assert ours.leaf is not None and reference.leaf is not None
            gradient, wanted = ours.leaf.tensor.grad, reference.leaf.tensor.grad
            assert gradient is not None and wanted is not None and bool(wanted.any())
            chosen = wanted.view(reference.shape)[0][torch.from_numpy(mask)]
            torch.testing.assert_close(gradient.flatten(), chosen, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("resample=5", "an entry that trained until now keeps its value"),
        ("scope=pair", "a matrix that is frozen as a whole would stay at zero"),
        ("select=b-only", "a matrix that is frozen as a whole would stay at zero"),
        ("select=layer", "a matrix that is frozen as a whole would stay at zero"),
    ],
)
def test_what_cannot_be_held_at_zero_is_one_line(
    options: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--methods", f"lorasp:held=zero,{options}", "--tasks", "rte", "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert says in capsys.readouterr().err and not list(tmp_path.rglob("*.json"))


def test_a_trained_adapter_cannot_start_it() -> None:
    LORASP().check_initial()
    with pytest.raises(NotApplicable, match="held=zero cannot start from --init-from"):
        LORASP(held="zero").check_initial()


def test_the_default_adds_no_option_to_the_key() -> None:
    assert LORASP(held="initial").options() == {} and LORASP(held="zero").options() == {"held": "zero"}


def measure_first_update(make: Callable[..., nn.Module], methods: Sequence[Method]) -> list[float]:
    """Mean square of the norm of scale * B A after one step of AdamW, by method; 12 replicas of each."""
    replicas = 12
    model = make()
    members = [method for method in methods for _ in range(replicas)]
    settings = [protocol(max_steps=2, warmup=0.0, weight_decay=0.0)] * len(members)
    made, _ = trainer(model, members, settings, list(range(replicas)) * len(methods), rows())
    made.train_step(0)
    squares = torch.zeros(len(members), dtype=torch.float64)
    for layer in layers(model).values():
        products: Tensor = layer.scales[:, None, None] * (layer.b.dense() @ layer.a.dense())
        squares += products.square().sum((1, 2)).detach()
    return squares.view(len(methods), replicas).mean(1).tolist()


def expect_square(width: int, rank: int, ratio: float, nonzero: float = 1.0) -> float:
    """The expected square of the norm of a row of B A after the first step, up to a common factor.

    AdamW's first step is the sign of the gradient, and B's row i has the gradient g A^T. A row of the product is so the
    sum of sign(g . a) a over the trained ranks: of random vectors that agree in the direction of g. Of rank pairs
    ratio^2 train. `nonzero` is the share of the entries of A that are not at zero.
    """
    return nonzero * (ratio * rank * width + ratio**2 * rank * (rank - 1) * BY_DIRECTION)


def test_the_first_update_of_half_of_the_entries_is_that_of_a_smaller_alpha(
    tiny_bert: Callable[..., nn.Module],
) -> None:
    value = {"target": ("value",)}  # gradients of the query are so small here that AdamW's epsilon matters
    methods = [
        LORA(**value),
        LORASP(**value),
        LORASP(ratio=0.25, **value),
        LORASP(held="zero", **value),
        LORA(alpha=16 * math.sqrt(0.5), **value),
        LORA(match="lorasp", **value),
    ]
    whole, half, quarter, zero, smaller, fewer = measure_first_update(tiny_bert, methods)
    expected = expect_square(32, 16, 1.0)
    assert smaller / whole == pytest.approx(0.5, rel=5e-3)  # linear in alpha, as AdamW ignores the gradient's size
    assert half / whole == pytest.approx(expect_square(32, 16, 0.5) / expected, rel=0.04)
    assert quarter / whole == pytest.approx(expect_square(32, 16, 0.25) / expected, rel=0.04)
    assert zero / whole == pytest.approx(expect_square(32, 16, 0.5, 0.5) / expected, rel=0.04)
    assert fewer / half == pytest.approx(expect_square(32, 8, 1.0) / expect_square(32, 16, 0.5), rel=0.04)
    # at the width of MiniLM the norm of lora at this alpha is that of lorasp to 1 %
    wide = expect_square(384, 16, 0.5) / expect_square(384, 16, 1.0)
    assert math.sqrt(wide / 0.5) == pytest.approx(1.0, abs=0.01)
