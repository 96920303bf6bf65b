"""Trainable parameters of K replicas as one matrix [K, N] per group, so the optimizer is a few vector operations.

    theta, moments, gradients  [K, N]   replica 0 | leaf 1 | leaf 2      | leaf 3 | padding |
                                        replica 1 | leaf 1 | leaf 2      | leaf 3           |
                                                    ^ tensor of a leaf: a view [K, *shape] of its columns

Gradients accumulate into a buffer [K, N]. In a pack, replicas with fewer parameters are padded with columns whose
gradient is always zero.

Where the whole backbone trains (K = 1), a gradient buffer would add the size of the model to the peak of the
activations. There the module's parameters are views of theta, and autograd creates each gradient while the backward
pass frees activations. The update reads these gradients where they are and frees them:

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
    """One trained tensor [K, *shape] of a group: a view of columns `start` to `stop` of theta.

    `tensor` becomes another view when replicas leave the pack.
    """

    name: str
    shape: tuple[int, ...]
    tensor: Tensor
    start: int = 0
    stop: int = 0


class Projector(Protocol):
    """Projects the gradient of one leaf to the smaller space of the moments, and an update back (arXiv 2403.03507)."""

    size: int
    """Entries of a projected gradient."""
    own_size: int
    """Entries that the projector itself stores between steps."""

    def project(self, grad: Tensor, step: int) -> Tensor:
        """The gradient [*shape] as [size]; `step` counts from 0."""

    def lift(self, update: Tensor) -> Tensor:
        """The update [size] as [*shape]."""

    def state(self) -> Tensor | None:
        """A copy of its own tensor on the host; None where it has none."""

    def restore(self, state: Tensor | None) -> None:
        """Resume from a result of `state`."""


class Stateful(Protocol):
    """Something other than the groups that training changes, so a checkpoint stores it: tensors, numbers and texts."""

    def state(self) -> Any:
        """A copy on the host, because checkpoints are also written when the device is out of memory."""

    def restore(self, state: Any) -> None:
        """Resume from a result of `state`, with its tensors moved to the device."""


class ParameterGroup:
    """Named trainable parameters of K replicas, each given as [K, *shape].

    `counts` are the trainable parameters per replica without padding. `lr_scale` multiplies each replica's learning
    rate. Leaves outside of `undecayed` come first, so weight decay is one operation on the first `decayed` columns.
    With `projectors` (one per leaf, K = 1) the moments have the size of projected gradients. `restarts` are the steps
    per replica after which its moments start again from zero (0: never); set them before training. With `parameters`
    (one per leaf, K = 1) autograd creates the gradients of these parameters, and `grad_buffer` is None. `leaf_counts`
    are the trainable parameters per replica of leaves with padding; they come before the padding.
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
        leaf_counts: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        # The sort is stable: leaves with weight decay first, otherwise in the given order.
        ordered = sorted(values, key=lambda item: item[0] in undecayed)
        self.name = name
        self.counts = tuple(counts)
        self.lr_scale = list(lr_scale or [1.0] * len(counts))
        self.restarts = [0] * len(counts)
        self.leaf_counts = {name: list(per_replica) for name, per_replica in (leaf_counts or {}).items()}
        self.decayed = sum(v[0].numel() for n, v in ordered if n not in undecayed)
        self.theta = torch.cat([v.reshape(len(counts), -1) for _, v in ordered], dim=1).contiguous()
        self.leaves = {n: Leaf(n, tuple(v.shape[1:]), v) for n, v in ordered}
        self.projectors, self.parameters = dict(projectors or {}), dict(parameters or {})
        for given, what in ((self.projectors, "projectors"), (self.parameters, "parameters")):
            # Both exist only where the whole backbone trains, and then a pack has one replica.
            if given and (len(counts) != 1 or set(given) != set(self.leaves)):
                raise ValueError(f"{what}: one for each leaf of a group of one replica")
        self.grad_buffer = None if self.parameters else torch.zeros_like(self.theta)
        self._bind()

    def _bind(self) -> None:
        """Make each leaf a view of its columns of theta, and its gradient a view of the same columns of the buffer."""
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
        """All gradients [K, N]: the buffer itself, or a copy of the gradients that autograd created."""
        if self.grad_buffer is not None:
            return self.grad_buffer
        return torch.cat([self.gradient_of(leaf).flatten(1) for leaf in self.leaves.values()], dim=1)

    def gradient_of(self, leaf: Leaf) -> Tensor:
        """The gradient [K, *shape] of a leaf; zero where autograd created none."""
        if self.grad_buffer is not None:
            return self.grad_buffer[:, leaf.start : leaf.stop].view(leaf.tensor.shape)
        parameter = self.parameters[leaf.name]
        # The loss may not reach a parameter, such as an unused pooler; zeros stand in for its gradient.
        return (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad)[None]

    def gradients(self) -> tuple[list[tuple[int, Tensor]], list[tuple[int, Tensor]]]:
        """(first column, gradient [K, n]) of the parameters with weight decay, and of those without."""
        if self.grad_buffer is None:
            parts = [(leaf.start, self.gradient_of(leaf).flatten(1)) for leaf in self.leaves.values()]
        else:
            parts = [(0, self.grad_buffer[:, : self.decayed]), (self.decayed, self.grad_buffer[:, self.decayed :])]
        parts = [(start, grad) for start, grad in parts if grad.shape[1]]
        return [p for p in parts if p[0] < self.decayed], [p for p in parts if p[0] >= self.decayed]

    def clear_gradients(self) -> None:
        """Set the buffer to zero, or free the gradients that autograd created."""
        if self.grad_buffer is not None:
            self.grad_buffer.zero_()
        for parameter in self.parameters.values():
            parameter.grad = None

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all replicas except `rows`."""
        # A copy, because a view would keep the memory of the replicas that left.
        self.theta = self.theta.detach()[list(rows)].contiguous()
        self.grad_buffer = None if self.parameters else torch.zeros_like(self.theta)
        self.counts = tuple(self.counts[r] for r in rows)
        self.lr_scale = [self.lr_scale[r] for r in rows]
        self.restarts = [self.restarts[r] for r in rows]
        for name, per_replica in self.leaf_counts.items():
            self.leaf_counts[name] = [per_replica[r] for r in rows]
        self._bind()

    @property
    def moment_columns(self) -> int:
        """Columns of each moment."""
        return sum(p.size for p in self.projectors.values()) if self.projectors else self.theta.shape[1]

    def count_trained_bytes(self, replica: int) -> int:
        """Bytes of one replica's trainable parameters; its gradient takes as many."""
        return self.counts[replica] * self.theta.element_size()

    def count_leaf(self, leaf: Leaf, replica: int) -> int:
        """One replica's trainable parameters in a leaf; they come before its padding."""
        per_replica = self.leaf_counts.get(leaf.name)
        return leaf.stop - leaf.start if per_replica is None else per_replica[replica]

    def state_bytes(self, replica: int, count_bytes: Callable[[int, int], int] | None = None) -> int:
        """Bytes of one replica's optimizer state, with the projectors' own tensors.

        `count_bytes` takes the parameters of a tensor and the bytes of each; without it there are two moments (AdamW).
        """
        item_bytes = self.theta.element_size()
        count = count_bytes or (lambda size, item_bytes: 2 * size * item_bytes)
        if not self.projectors:
            return sum(count(self.count_leaf(leaf, replica), item_bytes) for leaf in self.leaves.values())
        return sum(count(p.size, item_bytes) + p.own_size * item_bytes for p in self.projectors.values())

    def iterate_projectors(self) -> Iterator[tuple[Projector, Leaf, int, int]]:
        """(projector, leaf, start, stop) for each leaf; start and stop are its columns in the moments."""
        start = 0
        for name, projector in self.projectors.items():
            yield projector, self.leaves[name], start, start + projector.size
            start += projector.size


@dataclasses.dataclass
class Attached:
    """A model with a method attached: the groups that train, and everything that the trainer has to know of the method.

    stored          entries per replica that the adapter stores without training
    keep_rows       called with the remaining rows when replicas leave the pack
    after_step      called after each step with the number of steps taken
    invalidate      called before and after each step: drop tensors computed from trainable parameters. A replayed CUDA
                    graph changes the parameters unseen, and a graph that is captured must compute the tensors itself
    eager_steps     whether the host decides something within a step (counted from 0), so that no CUDA graph can hold it
    penalty         added to the losses [K]
    model           called instead of the backbone where the method wraps it
    extra, extra_of facts for the record of every replica, and of one replica
    extra_state     objects other than the groups that training changes, for checkpoints
    frozen_bytes    bytes per replica of adapter entries that do not train, with the index of those that do
    tuner           peft's tuner, where the method comes from peft
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
        """Both together, such as an adapter and its head. Penalty, wrapping model and tuner are those of `self`."""
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
        """Drop all replicas except `rows`, because a replica leaves the pack when its last step is done."""
        for group in self.groups:
            group.keep(rows)
        for callback in self.keep_rows:
            callback(rows)
        self.stored = [self.stored[r] for r in rows]
        self.frozen_bytes = [self.frozen_bytes[r] for r in rows] if self.frozen_bytes else ()

    def tell(self, facts: Sequence[Mapping[str, Any]]) -> None:
        """Add facts to the record of each replica, one mapping per replica."""
        rows = list(facts)

        def keep(stay: Sequence[int]) -> None:
            rows[:] = [rows[r] for r in stay]

        self.extra_of.append(lambda replica: dict(rows[replica]))
        self.keep_rows.append(keep)

    def collect_extra(self, replica: int) -> dict[str, Any]:
        """All further facts for the record of one replica."""
        extra = dict(self.extra)
        for give in self.extra_of:
            extra |= give(replica)
        return extra

    def group(self, name: str) -> ParameterGroup | None:
        return next((g for g in self.groups if g.name == name), None)

    def count(self, name: str, replica: int) -> int:
        return sum(g.counts[replica] for g in self.groups if g.name == name)
