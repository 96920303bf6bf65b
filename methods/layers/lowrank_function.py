"""The autograd function of low-rank layers: y_i = W_i x + scale_i * B_i A_i drop_i(x) for layers i that read one x.

    rows [K, n, d] --A_1 | A_2 | ...--> h [K, n, R] --B_i--> added to y_i [K, n, d_out_i] in place
                     side by side: one product for all, R = r_1 + r_2 + ...

saved for the backward pass
    x      once for all layers: the columns where A trains, nothing if A is frozen, or what x is recomputed from
    h      where B trains
not saved: drop(x), whose masks are drawn again; W x; the weights, which the layers hold
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.replicas.recomputed import get_recomputation
from methods.layers.frozen_product import add_input_gradient, read_weight
from methods.layers.shared_input import SharedInput, gather_columns

if TYPE_CHECKING:
    from methods.layers.lowrank import LowRankLinear

Layers = Sequence["LowRankLinear"]


def compute_layers(x: Tensor, layers: Layers) -> tuple[Tensor, ...]:
    """Results [K*B, ..., d_out] of layers that read x [K*B, ..., d_in]; without W x where a layer adds it itself."""
    leaves = []
    for layer in layers:  # inputs of the function, so that autograd asks for their gradients
        leaves += [p.leaf.tensor if p.leaf is not None else None for p in (layer.a, layer.b)]
    results: tuple[Tensor, ...] = _LowRank.apply(x, layers, *leaves)  # type: ignore[no-untyped-call]
    return results


class _LowRank(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: Layers, *leaves: Tensor | None) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        dtype = torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type) else x.dtype
        shared = layers[0].reading
        rows = shared.take(x, len(layers[0].scales), dtype)
        # the scale multiplies h, the smallest of the tensors
        h = _project(rows, x.shape, layers) * _cat([layer.expand_scales(rows) for layer in layers])
        outputs = []
        for layer, part in zip(layers, h.split([layer.rank for layer in layers], 2), strict=True):
            low = layer.b.dense(dtype).transpose(1, 2)
            y = layer.base(x) if layer.holds_product else None
            if y is not None and layer.base._forward_hooks:
                y = y.clone()  # a hook may have kept the product with the frozen weight
            outputs.append(_add_product(y, part, low, x.shape))
        ctx.layers, ctx.shape, ctx.dtypes = layers, x.shape, (x.dtype, dtype)
        ctx.compute, inputs = _choose_inputs(x, rows, layers, shared, [leaf is not None for leaf in leaves[::2]])
        ctx.save_for_backward(h if any(leaf is not None for leaf in leaves[1::2]) else None, *inputs)
        return tuple(outputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        h, *inputs = ctx.saved_tensors
        layers: list[LowRankLinear] = list(ctx.layers)
        layers[0].reading.invalidate()
        needs = ctx.needs_input_grad
        k, dtype = len(layers[0].scales), ctx.dtypes[1]
        # without a layer whose result the loss does not depend on
        dys = {i: g.reshape(k, -1, g.shape[-1]).to(dtype) for i, g in enumerate(grads) if g is not None}
        trains_a, trains_b = ([bool(n) and i in dys for i, n in enumerate(needs[s::2])] for s in (2, 3))
        gradients: list[Tensor | None] = [None] * (2 * len(layers))
        if h is not None:
            for i, part in enumerate(h.split([layer.rank for layer in layers], 2)):
                if trains_b[i]:
                    gradients[2 * i + 1] = layers[i].b.gather_gradient(torch.bmm(dys[i].transpose(1, 2), part))
        if not (any(trains_a) or needs[0]):
            return None, None, *gradients
        dhs = {i: torch.bmm(dy, layers[i].b.dense(dtype)) * layers[i].cast_scales(dy) for i, dy in dys.items()}
        if any(trains_a):
            if ctx.compute is not None:
                inputs = [ctx.compute(*inputs).reshape(k, -1, ctx.shape[-1])]
            for i, gradient in _compute_a_gradients(layers, dhs, trains_a, inputs, ctx.shape).items():
                gradients[2 * i] = layers[i].a.gather_gradient(gradient)
            del inputs
        dx = None
        if needs[0] and dys:
            dx = _compute_input_gradient(layers, dys, dhs, ctx.shape, dtype).to(ctx.dtypes[0])
        return dx, None, *gradients


def _cat(parts: Sequence[Tensor], dim: int = 2) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim)


def _project(rows: Tensor, shape: torch.Size, layers: Layers) -> Tensor:
    """A_i drop_i(rows) of all layers side by side [K, n, R]; one product if no layer has dropout."""
    factors = [layer.a.dense(rows.dtype) for layer in layers]
    if not any(layer.drops for layer in layers):
        return torch.bmm(rows, _cat(factors, 1).transpose(1, 2))
    products = [torch.bmm(r.drop_rows(rows, shape), a.transpose(1, 2)) for r, a in zip(layers, factors, strict=True)]
    return _cat(products)


def _add_product(y: Tensor | None, h: Tensor, low: Tensor, shape: torch.Size) -> Tensor:
    """y + h low [K*B, ..., d_out], in place where y has the precision of the product; without y the product alone."""
    shape = torch.Size((*shape[:-1], low.shape[-1]))
    if y is None or y.dtype != h.dtype or not y.is_contiguous():
        product = torch.bmm(h, low).view(shape)
        return product if y is None else y + product
    y.view(len(h), -1, y.shape[-1]).baddbmm_(h, low)
    return y


def _choose_inputs(
    x: Tensor, rows: Tensor, layers: Layers, shared: SharedInput, trains_a: Sequence[bool]
) -> tuple[Any, list[Tensor]]:
    """(function that computes x again or None, tensors to save) for the gradients of A.

    The tensors are what the function reads, else one for all layers, or one per layer if a layer reads columns.
    """
    if not any(trains_a):
        return None, []
    recomputation = get_recomputation(x)
    if recomputation is not None and rows.dtype == x.dtype:
        return recomputation.compute, list(recomputation.tensors)
    if all(layer.a.narrow is None for layer in layers):
        return None, [rows]
    narrow = [layer.a.columns if layer.a.narrow is not None and not layer.drops else None for layer in layers]
    return None, [rows if columns is None else shared.take_columns(rows, columns) for columns in narrow]


def _compute_a_gradients(
    layers: Layers, dhs: dict[int, Tensor], trains_a: Sequence[bool], inputs: Sequence[Tensor], shape: torch.Size
) -> dict[int, Tensor]:
    """The gradients of the matrices A, or of their columns where `narrow_to` has chosen some, by layer number."""
    chosen = [i for i, trains in enumerate(trains_a) if trains]
    is_plain = all(layers[i].a.narrow is None and not layers[i].drops for i in chosen)
    if is_plain:
        total = torch.bmm(_cat([dhs[i] for i in chosen]).transpose(1, 2), inputs[0])
        return dict(zip(chosen, total.split([layers[i].rank for i in chosen], 1), strict=True))
    gradients = {}
    for i in chosen:
        layer, rows = layers[i], inputs[i] if len(inputs) > 1 else inputs[0]
        rows = layer.drop_rows(rows, shape) if layer.drops else rows
        if layer.a.narrow is not None and layer.a.columns is not None and rows.shape[2] == layer.a.shape[2]:
            rows = gather_columns(rows, layer.a.columns)
        gradients[i] = torch.bmm(dhs[i].transpose(1, 2), rows)
    return gradients


def _compute_input_gradient(
    layers: Layers, dys: dict[int, Tensor], dhs: dict[int, Tensor], shape: torch.Size, dtype: torch.dtype
) -> Tensor:
    """The gradient of x [K*B, ..., d_in], summed in place over the layers that a gradient reaches."""
    total: Tensor | None = None
    for i, dy in dys.items():
        if layers[i].holds_product:
            weight = read_weight(layers[i].base, dtype)
            total = add_input_gradient(total, dy.flatten(0, 1), weight)
            del weight
    stacked = None if total is None else total.view(len(layers[0].scales), -1, shape[-1])
    factors = {i: layers[i].a.dense(dtype) for i in dys}
    if not any(layers[i].drops for i in dys):
        dh, a = _cat([dhs[i] for i in dys]), _cat([factors[i] for i in dys], 1)
        stacked = torch.bmm(dh, a) if stacked is None else stacked.baddbmm_(dh, a)
        return stacked.view(shape)
    for i in dys:
        low = layers[i].drop_rows(torch.bmm(dhs[i], factors[i]), shape)
        stacked = low if stacked is None else stacked.add_(low)
    assert stacked is not None
    return stacked.view(shape)
