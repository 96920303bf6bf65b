"""Layers that read one input: gradients, equality with peft and with each replica alone, and what is saved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.replicas.dropout_sites import install_dropout
from harness.replicas.groups import Leaf
from harness.replicas.recomputed import get_recomputation, set_recomputation
from methods.layers import shared_input
from methods.layers.lowrank import LowRankLinear, attach_pairs
from methods.layers.pair import Pair
from tests.methods.layers.test_gradients import D_IN, D_OUT, LENGTH, ROWS, K, agrees, drawn, pair
from tests.saved_storages import list_saved

NAMES = ("q", "k", "v")


class Reader(nn.Module):
    """Three layers on one tensor, as in attention; the widths of the results differ."""

    def __init__(self, d_in: int = D_IN) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(d_in, width) for width in (D_OUT, D_OUT, 3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.q(x), self.k(x).sin(), self.v(x)], -1)


@pytest.fixture(params=["joint", "separate"])
def joined(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param == "joint":
        monkeypatch.setitem(shared_input.JOINT, "Reader", NAMES)
    return bool(request.param == "joint")


def build(members: Sequence[dict[str, Pair]], d_in: int = D_IN, dtype: torch.dtype = torch.float64) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Reader(d_in).to(dtype).requires_grad_(False)
    attached = attach_pairs(model, members)
    install_dropout(model, range(len(members)), LENGTH, "cpu").step.fill_(3)
    return model.train(), [leaf for group in attached.groups for leaf in group.leaves.values()]


def test_a_layer_that_reads_another_tensor_runs_again(joined: bool) -> None:
    model, leaves = build(members(1.0, 0.3))

    def forward(x: Tensor) -> Tensor:
        return torch.cat([model.q(x), model.k(x.cos()), model.v(x)], -1)

    model.forward = forward
    assert agrees(model, leaves)


def test_an_input_that_was_modified_in_place_is_read_again(joined: bool) -> None:
    model, _ = build(members(1.0, 0.3))
    x = drawn(K * ROWS, LENGTH, D_IN, seed=9)
    with torch.no_grad():
        model.q(x)
        results = model.k(x.mul_(2)), model.k(x.clone())
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_a_call_without_gradient_serves_none_with_one(joined: bool) -> None:
    model, leaves = build(members(1.0, 0.3))

    def forward(x: Tensor) -> Tensor:
        with torch.no_grad():
            model.q(x)
        return torch.cat([model.k(x), model.v(x)], -1)

    model.forward = forward
    assert agrees(model, leaves)


def test_two_inputs_of_one_backward_pass(joined: bool) -> None:
    model, leaves = build(members(1.0, 0.0))
    assert agrees(lambda x: model(x) * model(x.cos()).sin(), leaves)


def test_a_second_backward_pass_gives_the_same_gradients(joined: bool) -> None:
    model, leaves = build(members(0.5, 0.3))
    loss = model(drawn(K * ROWS, LENGTH, D_IN, seed=9)).square().sum()
    tensors = [leaf.tensor for leaf in leaves]
    first = torch.autograd.grad(loss, tensors, retain_graph=True)
    assert all(map(torch.equal, first, torch.autograd.grad(loss, tensors)))


def test_second_derivatives_are_refused(joined: bool) -> None:
    """The function computes with values of the weights, of which autograd knows nothing."""
    model, _ = build(members(1.0, 0.0))
    x = drawn(K * ROWS, LENGTH, D_IN, seed=9).requires_grad_()
    (gradient,) = torch.autograd.grad(model(x).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


def test_a_hook_of_the_frozen_layer_keeps_its_product(joined: bool) -> None:
    model, _ = build(members(1.0, 0.0))
    kept: list[Tensor] = []
    model.q.base.register_forward_hook(lambda module, inputs, output: kept.append(output))
    x = drawn(K * ROWS, LENGTH, D_IN, seed=9)
    model(x)
    torch.testing.assert_close(kept[0], nn.functional.linear(x, model.q.base.weight, model.q.base.bias))


def test_a_weight_that_trains_after_the_pairs_were_attached_has_a_gradient(joined: bool) -> None:
    model, leaves = build(members(1.0, 0.3))
    model.q.base.bias.requires_grad_(True)
    weights = drawn(K * ROWS, LENGTH, D_OUT, seed=4)
    (model(drawn(K * ROWS, LENGTH, D_IN, seed=9))[..., :D_OUT] * weights).sum().backward()
    torch.testing.assert_close(model.q.base.bias.grad, weights.sum((0, 1)))
    model.q.base.requires_grad_(False)
    assert agrees(model, leaves)


def narrow(source: Pair, width: int) -> Pair:
    """The pair for a layer with fewer outputs."""
    return Pair(source.a, source.b[:width], source.train_a, source.train_b[:width], source.scale, source.dropout)


def members(share: float, dropout: float, sites: Sequence[str] = NAMES) -> list[dict[str, Pair]]:
    """Two replicas with ranks 3 and 2, one pair for each site."""
    packs = []
    for rank, seed in ((3, 1), (2, 50)):
        pairs = {name: pair(rank, seed + 10 * i, share, dropout) for i, name in enumerate(sites)}
        packs.append({n: narrow(p, 3) if n == "v" else p for n, p in pairs.items()})
    return packs


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("share", [1.0, 0.5])
def test_gradients_of_a_pack(share: float, dropout: float, joined: bool) -> None:
    model, leaves = build(members(share, dropout))
    assert len(leaves) == 6 and agrees(model, leaves)


def test_gradients_where_some_layers_have_no_pair(joined: bool) -> None:
    model, leaves = build(members(1.0, 0.0, ("q", "v")))
    assert type(model.k) is nn.Linear and agrees(model, leaves)


@pytest.mark.parametrize("frozen", ["a", "b"])
def test_gradients_where_one_factor_is_frozen(frozen: str, joined: bool) -> None:
    pack = members(1.0, 0.0)
    for one in pack:
        for p in one.values():
            (p.train_a if frozen == "a" else p.train_b)[:] = False
    model, leaves = build(pack)
    assert len(leaves) == 3 and agrees(model, leaves)


def test_gradients_of_chosen_columns(joined: bool) -> None:
    pack = members(1.0, 0.0)
    for one in pack:
        for p in one.values():
            p.train_a[:, 1:] = False
    model, leaves = build(pack)
    assert all(layer.a.narrow is not None for layer in (model.q, model.k, model.v))
    assert agrees(model, leaves)


def test_a_layer_whose_result_is_not_read(joined: bool) -> None:
    model, leaves = build(members(1.0, 0.0))
    model.forward = lambda x: (model.q(x), model.k(x), model.v(x))[1]
    assert agrees(model, leaves)


def test_a_replica_of_a_pack_computes_what_it_computes_alone(joined: bool) -> None:
    pack, x = members(0.5, 0.3), drawn(K * ROWS, LENGTH, D_IN, seed=9)
    weights = drawn(K * ROWS, LENGTH, 2 * D_OUT + 3, seed=4)
    together, leaves = build(pack)
    both = together(x)
    (both * weights).sum().backward()
    for row, one in enumerate(pack):
        alone = Reader().double().requires_grad_(False)
        alone.load_state_dict({n: getattr(together, n[0]).base.state_dict()[n[2:]] for n in alone.state_dict()})
        attached = attach_pairs(alone, [one])
        install_dropout(alone, [row], LENGTH, "cpu").step.fill_(3)
        part = slice(row * ROWS, (row + 1) * ROWS)
        result = alone.train()(x[part])
        torch.testing.assert_close(result, both[part], rtol=0, atol=1e-12)
        (result * weights[part]).sum().backward()
        for leaf in leaves:
            own = attached.groups[0].leaves[leaf.name].tensor.grad
            assert own is not None and leaf.tensor.grad is not None
            count = own[0].numel()
            torch.testing.assert_close(leaf.tensor.grad[row].flatten()[:count], own[0].flatten(), rtol=0, atol=1e-12)


def test_results_and_gradients_are_those_of_peft(joined: bool) -> None:
    """Without dropout, whose masks peft draws in another way; in float64."""
    from peft import LoraConfig, inject_adapter_in_model

    one = members(1.0, 0.0)[0]
    model, leaves = build([one])
    plain = Reader().double()
    plain.load_state_dict({n: getattr(model, n[0]).base.state_dict()[n[2:]] for n in plain.state_dict()})
    alphas = {name: p.scale * 3 for name, p in one.items()}
    config = LoraConfig(r=3, lora_alpha=1, alpha_pattern=alphas, target_modules=list(NAMES))  # type: ignore[arg-type]
    theirs: Any = inject_adapter_in_model(config, plain).double()
    factors = {}
    for name, p in one.items():
        layer = getattr(theirs, name)
        for letter, values in (("A", p.a), ("B", p.b)):
            weight = getattr(layer, f"lora_{letter}")["default"].weight
            weight.data.copy_(values)
            factors[f"{name}.{letter.lower()}"] = weight
    x = drawn(ROWS, LENGTH, D_IN, seed=9)
    weights = drawn(ROWS, LENGTH, 2 * D_OUT + 3, seed=4)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    results = [m(value) for m, value in zip((model, theirs), inputs, strict=True)]
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)
    for result in results:
        (result * weights).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=0, atol=1e-12)
    assert len(leaves) == len(factors) == 6
    for leaf in leaves:
        assert leaf.tensor.grad is not None
        torch.testing.assert_close(leaf.tensor.grad[0], factors[leaf.name].grad, rtol=0, atol=1e-12)


WIDE = 64


def wide_members(dropout: float) -> list[dict[str, Pair]]:
    ones = {width: (np.ones((2, WIDE), bool), np.ones((width, 2), bool)) for width in (D_OUT, 3)}
    one = {}
    for i, (name, width) in enumerate(zip(NAMES, (D_OUT, D_OUT, 3), strict=True)):
        one[name] = Pair(drawn(2, WIDE, seed=i), drawn(width, 2, seed=i + 9), *ones[width], 1.0, dropout)
    return [one]


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_input_is_saved_once_whatever_the_dropout(dropout: float, joined: bool) -> None:
    """Beyond x itself: A x of rank 2 for each of three layers, and the scale."""
    model, _ = build(wide_members(dropout), WIDE, torch.float32)
    x = torch.randn(ROWS, LENGTH, WIDE, requires_grad=True)
    sines = ROWS * LENGTH * D_OUT * 4  # the argument of the sine
    products = 3 * 2 * ROWS * LENGTH * 4
    assert sum(list_saved(lambda: model(x), [x])) <= sines + products + 3 * 4


def test_a_recomputed_input_is_not_saved(joined: bool) -> None:
    model, leaves = build(wide_members(0.0), WIDE, torch.float32)
    source = torch.randn(ROWS, LENGTH, WIDE, requires_grad=True)

    def forward(told: bool) -> Tensor:
        doubled = 2.0 * source
        return model(set_recomputation(doubled, lambda s: 2.0 * s, source) if told else doubled)  # type: ignore[no-any-return]

    size = source.numel() * 4
    known = [source, torch.empty(0)]
    assert sum(list_saved(lambda: forward(False), known)) - sum(list_saved(lambda: forward(True), known)) == size
    gradients = []
    for told in (False, True):
        forward(told).square().sum().backward()
        gradients.append([source.grad.clone(), *(leaf.tensor.grad.clone() for leaf in leaves)])  # type: ignore[union-attr]
        for tensor in (source, *(leaf.tensor for leaf in leaves)):
            tensor.grad.zero_()  # type: ignore[union-attr]
    for one, other in zip(*gradients, strict=True):
        assert torch.equal(one, other)


def test_a_tensor_that_was_modified_is_not_recomputed() -> None:
    source = torch.randn(3)
    result, other = (set_recomputation(2.0 * source, lambda s: 2.0 * s, source) for _ in range(2))
    assert get_recomputation(result) is not None
    result.add_(1)
    assert get_recomputation(result) is None and get_recomputation(other) is not None
    source.add_(1)
    assert get_recomputation(other) is None


@pytest.mark.parametrize("level", ["nf4", "int8"])
def test_a_quantized_weight_has_the_gradient_of_its_dense_form(level: str) -> None:
    bnb = pytest.importorskip("bitsandbytes")
    layer = bnb.nn.Linear4bit(64, 64, bias=False, quant_type="nf4", compute_dtype=torch.float32)
    if level == "int8":
        layer = bnb.nn.Linear8bitLt(64, 64, bias=False, has_fp16_weights=False, threshold=0.0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer.load_state_dict({"weight": torch.randn(64, 64) / 8}, strict=False)
    model = nn.Sequential(layer.to("cpu")).requires_grad_(False)
    ones = np.ones((4, 64), bool), np.ones((64, 4), bool)
    one = Pair(drawn(4, 64, seed=1) / 8, drawn(64, 4, seed=2) / 8, *ones, 0.5, 0.0)
    attach_pairs(model, [{"0": one}])
    wrapped: Any = model[0]
    assert isinstance(wrapped, LowRankLinear) and wrapped.holds_product == (level == "nf4")
    x = torch.randn(3, 5, 64, requires_grad=True)
    y = wrapped(x)
    weights = torch.randn_like(y)
    (gradient,) = torch.autograd.grad((y * weights).sum(), x)
    low = (0.5 * one.b @ one.a).float()
    with torch.no_grad():
        dense = layer(torch.eye(64)[None])[0].T
    tolerance = 1e-4 if level == "nf4" else 2e-1  # int8 rounds the input too
    torch.testing.assert_close(y, x @ (dense + low).T, rtol=0, atol=tolerance)
    torch.testing.assert_close(gradient, weights @ (dense + low), rtol=0, atol=tolerance)


def test_the_leaves_of_a_pack_have_one_row_per_replica() -> None:
    _, leaves = build(members(0.5, 0.0))
    assert all(isinstance(leaf, Leaf) and len(leaf.tensor) == K for leaf in leaves)
