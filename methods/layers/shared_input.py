"""The input that several low-rank layers of one module read: one copy, and one pass for those that read the same.

        x ──> q_proj: computes q, k and v at once, and returns q
module  x ──> k_proj: returns k, which waits since then
        x ──> v_proj: returns v
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from harness.replicas.recomputed import get_version
from methods.layers.packed import PartialMatrix

if TYPE_CHECKING:
    from methods.layers.lowrank import LowRankLinear

FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3")
JOINT: dict[str, tuple[str, ...]] = {
    **{f"{family}Attention": ("q_proj", "k_proj", "v_proj") for family in FAMILIES},
    **{f"{family}MLP": ("gate_proj", "up_proj") for family in FAMILIES},
}
"""By class of module: layers that its forward pass calls on the same tensor. On another tensor a layer runs again."""


class SharedInput:
    """The input of the sites in one module, in the precision of the matrix product: query and value share one copy.

    It drops the input at the end of the module's forward pass and before a site's backward pass (which may have
    recomputed a part of the module), because otherwise it would keep memory that autograd does not save.
    """

    def __init__(self) -> None:
        self.sites: list[PartialMatrix] = []
        self._joint: list[tuple[LowRankLinear, ...]] = []
        self._x: Tensor | None = None
        self._version, self._records = 0, False
        self._made: dict[object, Tensor] = {}
        self._waiting: dict[int, Tensor] = {}

    def join(self, a: PartialMatrix) -> None:
        """Add a site, or update it when its replicas changed; sites with equal columns then share one tensor."""
        if a not in self.sites:
            self.sites.append(a)
        for other in self.sites:
            if a.columns is not None and other.columns is not None and torch.equal(a.columns, other.columns):
                a.columns = other.columns
                break

    def group_layers(self, module_class: type, layers: dict[str, LowRankLinear]) -> None:
        """Note which of the module's low-rank layers, by name, read the same tensor."""
        for base in module_class.__mro__:
            names = JOINT.get(base.__name__, ())
            together = tuple(layers[name] for name in names if name in layers)
            if len(together) > 1:
                self._joint.append(together)

    def compute(
        self,
        layer: LowRankLinear,
        x: Tensor,
        run: Callable[[Tensor, Sequence[LowRankLinear]], tuple[Tensor, ...]],
    ) -> Tensor:
        """The result of `run` for a layer; layers that read the same tensor are computed by the first one's call."""
        if self._records != torch.is_grad_enabled():  # a result without a graph serves no call that autograd records
            self.invalidate()
            self._records = torch.is_grad_enabled()
        self._set_input(x)
        if id(layer) in self._waiting:
            return self._waiting.pop(id(layer))
        together = next((group for group in self._joint if layer in group), (layer,))
        results = dict(zip(map(id, together), run(x, together), strict=True))
        own = results.pop(id(layer))
        self._waiting |= results
        return own

    def narrow_sites(self) -> None:
        """Once all sites have joined: save only each site's own columns, where these together are fewer than all."""
        for width in {site.shape[2] for site in self.sites}:
            alike = [site for site in self.sites if site.shape[2] == width and site.leaf is not None]
            column_counts = {
                id(site.columns): width if site.columns is None else site.columns.shape[1] for site in alike
            }
            for site in alike if sum(column_counts.values()) < width else ():
                site.narrow_to(site.columns)

    def take(self, x: Tensor, k: int, dtype: torch.dtype) -> Tensor:
        """Rows [K, n, d] of x [K*B, ..., d] in `dtype`; a view of x where it has that precision."""
        self._set_input(x)
        rows = self._made.get(dtype)
        if rows is None:
            rows = self._made[dtype] = x.detach().reshape(k, -1, x.shape[-1]).to(dtype)
        return rows

    def take_columns(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Columns [K, n, c] of the rows that `take` returned; sites with the same columns share one tensor."""
        key = (rows.dtype, id(columns))
        if key not in self._made:
            self._made[key] = gather_columns(rows, columns)
        return self._made[key]

    def _set_input(self, x: Tensor) -> None:
        version = get_version(x)  # a tensor that was modified in place is another input
        if self._x is not x or self._version != version:
            self.invalidate()
            self._x, self._version = x, version

    def invalidate(self, *module_call: object) -> None:
        """Drop the input; also serves as a forward hook."""
        self._x, self._made, self._waiting = None, {}, {}


def gather_columns(rows: Tensor, columns: Tensor) -> Tensor:
    """Columns [K, n, c] of rows [K, n, d]; columns [K, c] int64."""
    return rows.gather(2, columns[:, None, :].expand(-1, rows.shape[1], -1))
