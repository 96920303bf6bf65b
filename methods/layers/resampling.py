"""Resample masks every k steps during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from methods.layers.lowrank import LowRankLinear

if TYPE_CHECKING:
    from torch import nn

    from harness.replicas.groups import Attached
    from methods.lowrank import ReplicaInit


def attach_resampler(model: nn.Module, layouts: Sequence[ReplicaInit], steps: Sequence[int], adapter: Attached) -> None:
    """Resample the masks of replicas whose method asks for it; `steps` are the total steps of each replica."""
    layers = {name: m for name, m in model.named_modules() if isinstance(m, LowRankLinear)}
    resampler = Resampler(layers, layouts, steps)
    for group in adapter.groups:
        # After resampling, a column of the moments belongs to another entry, so the moments restart.
        group.restarts = [replica.method.resample_interval for replica in layouts]
    adapter.after_step.append(resampler.after_step)
    adapter.keep_rows.append(resampler.keep)
    adapter.extra_of.append(resampler.extra)
    adapter.extra_state.append(resampler)


class Resampler:
    """Resamples masks. Every entry keeps its value, except that entries stored as codes are rounded to them."""

    def __init__(
        self, layers: Mapping[str, LowRankLinear], layouts: Sequence[ReplicaInit], steps: Sequence[int]
    ) -> None:
        self.layers, self.layouts, self.steps = dict(layers), list(layouts), list(steps)
        self.errors = [0.0] * len(layouts)

    def after_step(self, taken: int) -> None:
        """Resample where due, but not after a replica's last step, because nothing would train with that mask."""
        for row, (replica, last) in enumerate(zip(self.layouts, self.steps, strict=True)):
            every = replica.method.resample_interval
            if every and taken % every == 0 and taken < last:
                self._draw(row, taken // every)

    def _draw(self, row: int, draw: int) -> None:
        replica = self.layouts[row]
        for name, (mask_a, mask_b) in replica.method.resample_masks(replica.sites, replica.streams, draw).items():
            layer = self.layers[name]
            self.errors[row] += layer.a.move(row, mask_a) + layer.b.move(row, mask_b)

    def extra(self, row: int) -> dict[str, Any]:
        """Facts for the record: the sum of absolute errors from storing newly frozen entries as codes."""
        return {"resample_error": self.errors[row]} if self.layouts[row].method.resample_interval else {}

    def keep(self, rows: Sequence[int]) -> None:
        self.layouts, self.steps, self.errors = (
            [self.layouts[r] for r in rows],
            [self.steps[r] for r in rows],
            [self.errors[r] for r in rows],
        )

    def state(self) -> Any:
        parts = {name: [layer.a.state(), layer.b.state()] for name, layer in self.layers.items()}
        return {"errors": list(self.errors), "layers": parts}

    def restore(self, state: Any) -> None:
        self.errors = list(state["errors"])
        for name, (a, b) in state["layers"].items():
            self.layers[name].a.restore(a)
            self.layers[name].b.restore(b)
