"""LoRA-SP: what is frozen stays, what trains is exactly the share, and the traps around it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from harness.core.errors import NotApplicable, UserError
from harness.core.method import METHODS, STRATEGIES
from harness.core.seeds import Streams, equal
from methods.layers.lowrank import LowRankLinear
from methods.lowrank import draw_factors
from methods.sites import find_sites
from tests.harness.small_training import protocol, rows, train, trainer

LORASP, LORA = METHODS.get("lorasp"), METHODS.get("lora")


def test_frozen_entries_are_bit_unchanged_and_trained_ones_move(tiny_bert: Callable[..., nn.Module]) -> None:
    model = tiny_bert()
    sites = find_sites(model, ("query", "value"), 16)
    streams = Streams(equal(2))
    masks = LORASP().masks(sites, streams, None)
    assert masks is not None
    start = {s.name: draw_factors(s, streams) for s in sites}
    made, attached = trainer(model, [LORASP()], [protocol(weight_decay=0.5)], [2], rows())
    train(made)
    for site in sites:
        layer = model.get_submodule(site.name)
        assert isinstance(layer, LowRankLinear)
        for packed, before, mask in zip((layer.a, layer.b), start[site.name], masks[site.name], strict=True):
            now = packed.dense()[0].detach()
            keep = torch.from_numpy(~mask)
            assert torch.equal(now[keep], before[keep])
            assert bool((now[~keep] != before[~keep]).all())
    assert attached.group("adapter").counts[0] == sum(a.sum() + b.sum() for a, b in masks.values())  # type: ignore[union-attr]


def test_exactly_half_of_loras_gradient_and_moments(tiny_bert: Callable[..., nn.Module]) -> None:
    sizes = []
    for method in (LORA(), LORASP()):
        made, attached = trainer(tiny_bert(), [method], [protocol()], [0], rows())
        group = attached.groups[0]
        sizes.append(
            [
                t.numel() * t.element_size()
                for t in (group.grad, made.optimizer.moments["first"][0], made.optimizer.moments["second"][0])
            ]
        )
    assert [2 * s for s in sizes[1]] == sizes[0]


def test_freezing_half_of_the_ranks_is_lora_of_half_the_rank(tiny_bert: Callable[..., nn.Module]) -> None:
    """The chosen ranks start from LoRA's first rows, at the same alpha / rank."""
    half_model, small_model = tiny_bert(), tiny_bert()
    half, _ = trainer(half_model, [LORASP(rank=16, alpha=16.0, select="rank")], [protocol()], [0], rows())
    small, _ = trainer(small_model, [LORA(rank=8, alpha=8.0)], [protocol()], [0], rows())
    layers = [(n, m) for n, m in small_model.named_modules() if isinstance(m, LowRankLinear)]
    for name, layer in layers:
        other = half_model.get_submodule(name)
        assert isinstance(other, LowRankLinear) and other.a.shape == (1, 8, 32)
        with torch.no_grad():
            layer.a.dense().copy_(other.a.dense())
    train(half)
    train(small)
    for name, layer in layers:
        other = half_model.get_submodule(name)
        product = layer.b.dense()[0] @ layer.a.dense()[0]
        assert bool(product.any())
        torch.testing.assert_close(other.b.dense()[0] @ other.a.dense()[0], product, rtol=0, atol=1e-12)  # type: ignore[operator,union-attr]


@pytest.mark.parametrize(("zero", "moves"), [("auto", True), ("a", True), ("b", False)])
def test_a_only_learns_nothing_from_a_zero_b(zero: str, moves: bool, tiny_bert: Callable[..., nn.Module]) -> None:
    model = tiny_bert()
    made, _ = trainer(model, [LORASP(select="a-only", zero=zero)], [protocol(weight_decay=0.0)], [0], rows())
    train(made)
    products = [
        m.b.dense()[0] @ m.a.dense()[0] for m in model.modules() if isinstance(m, LowRankLinear) and len(m.a.dense())
    ]
    assert products and any(bool(p.any()) for p in products) == moves


def test_paper_options_train_442368_on_roberta_base_shapes() -> None:
    sizes = [(16 * 768 + 768 * 16) // 2] * 3 * 12
    assert sum(sizes) == 442_368
    assert LORASP.paper_options["target"] == ("query", "key", "value")


@pytest.mark.parametrize(
    "options", [{"ratio": 1.5}, {"ratio": 0.0}, {"rank": 0}, {"dropout": 1.0}, {"alpha": 0.0}, {"select": "randon"}]
)
def test_options_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"allowed|did you mean"):
        LORASP(**options).check()


def test_first_rows_of_a_are_the_same_at_each_rank(tiny_bert: Callable[..., nn.Module]) -> None:
    model, streams = tiny_bert(), Streams(equal(0))
    small, large = (draw_factors(find_sites(model, ("query",), r)[0], streams)[0] for r in (8, 16))
    assert torch.equal(large[:8], small)
    assert large.abs().max() <= 1 / 32**0.5


def _config(kind: str) -> object:
    from transformers import BertConfig, DebertaV2Config, RobertaConfig

    shape = {
        "vocab_size": 60,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "attention_probs_dropout_prob": 0.0,
    }
    return {"bert": BertConfig, "roberta": RobertaConfig, "deberta-v2": DebertaV2Config}[kind](**shape, num_labels=3)


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta-v2"])
def test_attaches_to_each_encoder_shape(kind: str) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_config(_config(kind)).requires_grad_(False)
    made, attached = trainer(model, [LORASP(), LORA()], [protocol(max_steps=3)] * 2, [0, 1], rows(outputs=3))
    train(made)
    assert attached.groups[0].counts == (2 * 2 * 16 * 32, 2 * 2 * 2 * 16 * 32)
    assert made.histories[0].broke_at is None


def test_a_target_the_model_lacks_is_named(tiny_bert: Callable[..., nn.Module]) -> None:
    with pytest.raises(UserError, match=r"target=gate.*query"):
        find_sites(tiny_bert(), ("gate",), 4)


@pytest.mark.parametrize(("select", "zero"), [("a-only", "b"), ("b-only", "a")])
def test_a_frozen_zero_matrix_learns_nothing(select: str, zero: str, tiny_bert: Callable[..., nn.Module]) -> None:
    """Why it is refused: whatever the other matrix is, the product stays zero and so does its gradient."""
    method = METHODS.get("lorasp")(select=select, zero=zero)
    with pytest.raises(NotApplicable, match="nothing is learned"):
        method.check()
    made, attached = trainer(tiny_bert(), [method], [protocol(max_steps=10, weight_decay=0.0)], [0], rows())
    adapter, head = (next(g for g in attached.groups if g.name == name) for name in ("adapter", "head"))
    start = adapter.theta.detach().clone(), head.theta.detach().clone()
    train(made)
    assert torch.equal(adapter.theta, start[0]) and not torch.equal(head.theta, start[1])


@pytest.mark.parametrize("select", [name for name, strategy in STRATEGIES if not strategy.reads_model])
def test_masks_need_no_weights_and_no_device(select: str, tiny_bert: Callable[..., nn.Module]) -> None:
    """The same from shapes alone (device meta), whatever torch's generators say: numpy draws them on the CPU."""
    method = METHODS.get("lorasp")(select=select)
    found = []
    for device in ("cpu", "meta"):
        torch.manual_seed(len(found))
        sites = find_sites(tiny_bert().to(device), method.target, method.rank)  # type: ignore[attr-defined]
        found.append(method.masks(sites, Streams(equal(3)), None))  # type: ignore[attr-defined]
    assert found[0].keys() == found[1].keys()
    assert all(np.array_equal(a, b) for n in found[0] for a, b in zip(found[0][n], found[1][n], strict=True))
