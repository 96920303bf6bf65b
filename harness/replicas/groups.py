"""Trained values as one matrix [K, N] per group: row k is replica k, so the optimizer is a few vector operations.

Gradients accumulate into a second matrix of the same shape. A group of one replica holds exactly its trained
values; in a pack, shorter replicas are padded with columns whose gradient is always zero.

Where the whole backbone trains, a second matrix would add the size of the model to the peak of the activations. There
the module's parameters are views of theta, and autograd creates the gradient of each as the backward pass frees the
activations; the update takes them as they lie and frees them:

    theta, moments  [1, N]  | leaf 1 | leaf 2      | leaf 3 | ...
    gradients               [leaf 1]  [leaf 2]      [leaf 3]  ...    from the backward pass to the update only
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn


@dataclasses.dataclass
class Leaf:
    """One trained tensor of a group, [K, *shape], columns `start` to `stop` of theta.

    `tensor` is rebound when replicas leave the pack.
    """

    name: str
    shape: tuple[int, ...]
    tensor: Tensor
    start: int = 0
    stop: int = 0


class Projector(Protocol):
    """Puts one leaf's gradient into a smaller space, where the optimizer keeps its moments, and an update back."""

    size: int
    """Numbers of a projected gradient."""
    own_size: int
    """Numbers that the projector itself keeps between steps."""

    def project(self, grad: Tensor, step: int) -> Tensor:
        """[*shape] -> [size]; `step` counts from 0."""

    def lift(self, update: Tensor) -> Tensor:
        """[size] -> [*shape]."""

    def state(self) -> Tensor | None:
        """A copy of what it keeps between steps, on the host."""

    def restore(self, state: Tensor | None) -> None:
        """Go on from what `state` gave."""


class Stateful(Protocol):
    """Something beside the groups that training changes: a checkpoint holds its tensors, numbers and texts."""

    def state(self) -> Any:
        """A copy on the host: it is asked for where a device has no memory left, too."""

    def restore(self, state: Any) -> None:
        """Go on from what `state` gave, its tensors on the device."""


class ParameterGroup:
    """Named trained values of K replicas.

    `counts` are the true numbers per replica, padding apart; `lr_scale` multiplies each replica's learning rate. The
    leaves named in `decayed` come first, so weight decay is one operation on a slice of columns. With `projectors`, one
    for each leaf and K = 1, the moments have the size of the projected gradients. `restarts` are steps per replica
    after which its moments start anew (0: never), set before training. With `parameters`, one for each leaf and K = 1,
    autograd creates the gradients, as those of these parameters; `grad_buffer` is None then.
    """

    def __init__(
        self,
        name: str,
        values: Sequence[tuple[str, Tensor]],
        counts: Sequence[int],
        *,
        undecayed: frozenset[str] = frozenset(),
        lr_scale: Sequence[float] | None = None,
        projectors: Mapping[str, Projector] | None = None,
        parameters: Mapping[str, nn.Parameter] | None = None,
    ) -> None:
        ordered = sorted(values, key=lambda item: item[0] in undecayed)
        self.name = name
        self.counts = tuple(counts)
        self.lr_scale = list(lr_scale or [1.0] * len(counts))
        self.restarts = [0] * len(counts)
        self.decayed = sum(v[0].numel() for n, v in ordered if n not in undecayed)
        self.theta = torch.cat([v.reshape(len(counts), -1) for _, v in ordered], dim=1).contiguous()
        self.leaves = {n: Leaf(n, tuple(v.shape[1:]), v) for n, v in ordered}
        self.projectors, self.parameters = dict(projectors or {}), dict(parameters or {})
        for given, what in ((self.projectors, "projectors"), (self.parameters, "parameters")):
            if given and (len(counts) != 1 or set(given) != set(self.leaves)):
                raise ValueError(f"{what}: one for each leaf of a group of one replica")
        self.grad_buffer = None if self.parameters else torch.zeros_like(self.theta)
        self._bind()

    def _bind(self) -> None:
        """Point each leaf at its columns of theta, and its gradient at those of grad."""
        start = 0
        for leaf in self.leaves.values():
            leaf.start, leaf.stop = start, start + torch.Size(leaf.shape).numel()
            shape = (len(self.counts), *leaf.shape)
            leaf.tensor = self.theta[:, leaf.start : leaf.stop].view(shape).requires_grad_()
            if self.grad_buffer is not None:
                leaf.tensor.grad = self.grad_buffer[:, leaf.start : leaf.stop].view(shape)
            start = leaf.stop

    @property
    def grad(self) -> Tensor:
        """All gradients, [K, N]: the buffer, or a copy of what autograd created."""
        if self.grad_buffer is not None:
            return self.grad_buffer
        return torch.cat([self.gradient_of(leaf).flatten(1) for leaf in self.leaves.values()], dim=1)

    def gradient_of(self, leaf: Leaf) -> Tensor:
        """[K, *shape], zero where autograd created none."""
        if self.grad_buffer is not None:
            return self.grad_buffer[:, leaf.start : leaf.stop].view(leaf.tensor.shape)
        parameter = self.parameters[leaf.name]
        return (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)[None]

    def gradients(self) -> tuple[list[tuple[int, Tensor]], list[tuple[int, Tensor]]]:
        """Tensors [K, n], each with its first column: those of what decays, then all others."""
        if self.grad_buffer is None:
            parts = [(leaf.start, self.gradient_of(leaf).flatten(1)) for leaf in self.leaves.values()]
        else:
            parts = [(0, self.grad_buffer[:, : self.decayed]), (self.decayed, self.grad_buffer[:, self.decayed :])]
        parts = [(start, grad) for start, grad in parts if grad.shape[1]]
        return [p for p in parts if p[0] < self.decayed], [p for p in parts if p[0] >= self.decayed]

    def clear_gradients(self) -> None:
        """Zero the buffer; free what autograd created."""
        if self.grad_buffer is not None:
            self.grad_buffer.zero_()
        for parameter in self.parameters.values():
            parameter.grad = None

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all replicas but `rows`."""
        self.theta = self.theta.detach()[list(rows)].contiguous()
        self.grad_buffer = None if self.parameters else torch.zeros_like(self.theta)
        self.counts = tuple(self.counts[r] for r in rows)
        self.lr_scale = [self.lr_scale[r] for r in rows]
        self.restarts = [self.restarts[r] for r in rows]
        self._bind()

    @property
    def moment_columns(self) -> int:
        """Columns of each AdamW moment."""
        return sum(p.size for p in self.projectors.values()) if self.projectors else self.theta.shape[1]

    def count_trained_bytes(self, replica: int) -> int:
        """Bytes of one replica's trained values; its gradient takes the same."""
        return self.counts[replica] * self.theta.element_size()

    def state_bytes(self, replica: int) -> int:
        """Bytes that the optimizer keeps for one replica: two moments, and the projectors where there are any."""
        if not self.projectors:
            return 2 * self.count_trained_bytes(replica)
        numbers = sum(2 * p.size + p.own_size for p in self.projectors.values())
        return numbers * self.theta.element_size()

    def iterate_projectors(self) -> Iterator[tuple[Projector, Leaf, int, int]]:
        """Each leaf with its projector and its columns, start and stop, in the moments."""
        start = 0
        for name, projector in self.projectors.items():
            yield projector, self.leaves[name], start, start + projector.size
            start += projector.size


@dataclasses.dataclass
class Attached:
    """What a method made of the model: groups that train, and what is stored without training, per replica.

    `after_step` is called after each step with the number of steps taken. `invalidate` is called before and after each
    step, for values cached from trained ones: a replayed graph changes those unseen, and a graph that is captured must
    compute the cache itself. `eager_steps` say whether the host decides something within a step (counted from 0), so
    that no graph can hold it. `penalty` is added to the losses [K]. `model` is called in place of the backbone where
    the method wraps it. `extra` and, per replica, `extra_of` go into the record. `extra_state` is what training changes
    beside the groups. `frozen_bytes` per replica are those of adapter entries stored without training, maps of the
    trained ones included. `tuner` is peft's, where the method is.
    """

    groups: list[ParameterGroup]
    stored: Sequence[int] = ()
    keep_rows: list[Callable[[Sequence[int]], None]] = dataclasses.field(default_factory=list)
    after_step: list[Callable[[int], None]] = dataclasses.field(default_factory=list)
    invalidate: list[Callable[[], None]] = dataclasses.field(default_factory=list)
    eager_steps: list[Callable[[int], bool]] = dataclasses.field(default_factory=list)
    penalty: Callable[[], Tensor] | None = None
    model: nn.Module | None = None
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)
    extra_of: list[Callable[[int], dict[str, Any]]] = dataclasses.field(default_factory=list)
    extra_state: list[Stateful] = dataclasses.field(default_factory=list)
    frozen_bytes: Sequence[int] = ()
    tuner: Any = None

    def join(self, other: Attached) -> Attached:
        """Both together: an adapter and its head, say. Penalty, wrapping model and tuner are the first one's."""
        return dataclasses.replace(
            self,
            groups=self.groups + other.groups,
            stored=[a + b for a, b in zip(self.stored, other.stored, strict=True)],
            keep_rows=self.keep_rows + other.keep_rows,
            after_step=self.after_step + other.after_step,
            invalidate=self.invalidate + other.invalidate,
            eager_steps=self.eager_steps + other.eager_steps,
            extra=self.extra | other.extra,
            extra_of=self.extra_of + other.extra_of,
            extra_state=self.extra_state + other.extra_state,
        )

    def keep(self, rows: Sequence[int]) -> None:
        """Compact the pack to `rows` (a replica that ends early leaves)."""
        for group in self.groups:
            group.keep(rows)
        for callback in self.keep_rows:
            callback(rows)
        self.stored = [self.stored[r] for r in rows]
        self.frozen_bytes = [self.frozen_bytes[r] for r in rows] if self.frozen_bytes else ()

    def tell(self, facts: Sequence[Mapping[str, Any]]) -> None:
        """Let the record of each replica have facts of its own, whatever its neighbours have."""
        rows = list(facts)

        def keep(stay: Sequence[int]) -> None:
            rows[:] = [rows[r] for r in stay]

        self.extra_of.append(lambda replica: dict(rows[replica]))
        self.keep_rows.append(keep)

    def collect_extra(self, replica: int) -> dict[str, Any]:
        """What the record of one replica gets beside the usual fields."""
        extra = dict(self.extra)
        for give in self.extra_of:
            extra |= give(replica)
        return extra

    def group(self, name: str) -> ParameterGroup | None:
        return next((g for g in self.groups if g.name == name), None)

    def count(self, name: str, replica: int) -> int:
        return sum(g.counts[replica] for g in self.groups if g.name == name)
