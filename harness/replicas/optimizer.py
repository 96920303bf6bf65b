"""The update of K replicas at once: every hyperparameter is a vector over K.

    theta, gradients, moments [K, N]      norm, clip, hyperparameters [K]      tables by step [steps, K]

The step itself is that of an optimizer in harness/replicas/optimizers/. A pack is updated in chunks of columns, and
projected gradients leaf by leaf.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from harness.core.optimizer import HYPERPARAMETERS, get_optimizer
from harness.core.protocol import Protocol
from harness.replicas.groups import Leaf, ParameterGroup, Projector

CHUNK, CACHED = 1 << 22, 1 << 18
"""Columns (on a CPU: entries) of one chunk: it bounds temporaries, and on a CPU it fits into the caches."""
GATHERED = {"cpu": 1 << 27, "cuda": 0}
"""Largest group whose gradients, where autograd created them, are copied side by side for their norm.

For a larger group it is the norm of the leaves' norms. A CPU adds up in the precision of the entries, so the last bits
of a norm depend on this. Up to 2**27 entries (RoBERTa-base has fewer) they equal those of a gradient buffer, which
earlier records were made with.
"""


def build_optimizer(
    groups: Sequence[ParameterGroup], protocols: Sequence[Protocol], rates: Sequence[Sequence[float]]
) -> ReplicaOptimizer:
    """The optimizer of a pack, which all its protocols name; `rates` [K][steps] are learning rates.

    Raises UserError for an unknown name.
    """
    updater: type[ReplicaOptimizer] = get_optimizer(protocols[0]).get_updater() or ReplicaOptimizer
    return updater(groups, protocols, rates)


class ReplicaOptimizer:
    """An elementwise optimizer on the rows of matrices [K, N], with gradient clipping per replica.

    `rates` [K][steps] are learning rates. A replica with fewer steps than its neighbours must leave the pack when it
    has taken them. `moments` has the optimizer's state by name, one matrix per group.
    """

    def __init__(
        self, groups: Sequence[ParameterGroup], protocols: Sequence[Protocol], rates: Sequence[Sequence[float]]
    ) -> None:
        self.optimizer = get_optimizer(protocols[0])
        if others := {p.optimizer for p in protocols} - {self.optimizer.name}:
            raise ValueError(f"one optimizer updates all replicas of a pack, not {self.optimizer.name} and {others}")
        self.decays = "weight_decay" in self.optimizer.reads
        self.groups = list(groups)
        self.device = groups[0].theta.device
        self.imitate(self.device.type)
        self.protocols, self.rates = list(protocols), [list(r) for r in rates]
        self.steps = 0
        self.moments: dict[str, list[Tensor]] = self._build_moments()
        self._at = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._build_tables()

    def imitate(self, device: str) -> None:
        """Gather and cut gradients as on this kind of device: a prediction for a GPU needs none."""
        self.gathered = GATHERED[device]
        self._fits_caches = device == "cpu"

    def _build_moments(self) -> dict[str, list[Tensor]]:
        """Zeros [K, n] for each name and group."""
        moments: dict[str, list[Tensor]] = {}
        for name in self.optimizer.list_moments(self.protocols):
            moments[name] = [g.theta.new_zeros(len(g.counts), g.moment_columns) for g in self.groups]
        return moments

    def _build_tables(self) -> None:
        """Build tables of scalars [steps, K] on the device, so that a step copies nothing from the host.

        Some are per group, because they count the steps since the group's moments last started from zero.
        """
        longest = max(len(r) for r in self.rates)
        # Tables are computed in float64 and cast once: 1 - beta ** count loses digits in float32.
        dtype = self.groups[0].theta.dtype
        rates = self._widen([r + [0.0] * (longest - len(r)) for r in self.rates]).T
        fields: dict[str, Tensor] = {}
        for name in HYPERPARAMETERS:
            fields[name] = self._widen([getattr(protocol, name) for protocol in self.protocols])
        self.group_tables: list[dict[str, Tensor]] = []
        for group in self.groups:
            tables = self.optimizer.compute_tables(rates, self._count_steps(group, longest), fields)
            self.group_tables.append({name: table.to(dtype) for name, table in tables.items()})
        self.tables = {"rates": rates.to(dtype), "shrink": (rates * fields["weight_decay"]).to(dtype)}
        self.fields = {name: value.to(dtype)[:, None] for name, value in fields.items()}
        self.clip = torch.tensor([p.clip for p in self.protocols], dtype=dtype, device=self.device)
        self.scales = [self._widen(g.lr_scale).to(dtype)[:, None] for g in self.groups]

    def _widen(self, values: object) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=self.device)

    def _count_steps(self, group: ParameterGroup, longest: int) -> Tensor:
        """The number of each step [steps, K] in float64, from 1 on and from 1 again where moments restart."""
        periods = self._widen([every or longest for every in group.restarts])
        return self._widen(range(longest))[:, None] % periods + 1

    @property
    def fallback(self) -> str | None:
        """Why a CUDA graph cannot hold its update; None where it can, and on a CPU."""
        if self.optimizer.captured or self.device.type == "cpu":
            return None
        return f"optimizer {self.optimizer.name} passes its learning rate from the host"

    def step(self) -> Tensor:
        """Take one step; returns the gradient norms [K] before clipping.

        Gradients in buffers stay, clipped, until `zero_grad`; gradients that autograd created are freed.
        """
        self.begin(self.steps)
        norm = self.update()
        self.steps += 1
        return norm

    def begin(self, step: int) -> None:
        """Do the host's part of a step: set the row of the tables, and restart moments."""
        self.steps = step
        self._at.fill_(step)
        for index, group in enumerate(self.groups):
            rows = [row for row, every in enumerate(group.restarts) if every and step % every == 0]
            if rows:
                self._restart(index, rows)

    @torch.no_grad()
    def update(self) -> Tensor:
        """Do the device's part of a step, which a CUDA graph can capture; returns the norms [K] before clipping."""
        norms = [norm for group in self.groups for norm in self._norms(group)]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        # The formula of torch.nn.utils.clip_grad_norm_, per replica.
        factor = (self.clip / (norm + 1e-6)).clamp(max=1.0)[:, None]
        for index, group in enumerate(self.groups):
            self._update_group(index, group, factor)
            if group.parameters:
                group.clear_gradients()
        return norm

    def _update_group(self, index: int, group: ParameterGroup, factor: Tensor) -> None:
        if group.projectors:
            self._update_projected(index, group, factor)
        elif len(self.rates) == 1:
            self._update_single(index, group, factor)
        else:
            for start, stop in self._iterate_chunks(group.theta.shape[1]):
                self._update(index, group, start, stop, factor)

    def _iterate_chunks(self, columns: int) -> Iterator[tuple[int, int]]:
        chunk = max(1, CACHED // len(self.rates)) if self._fits_caches else CHUNK
        for start in range(0, columns, chunk):
            yield start, min(start + chunk, columns)

    def _norms(self, group: ParameterGroup) -> Sequence[Tensor]:
        """Norms [K] of disjoint parts that together are all gradients of a group."""
        if group.grad_buffer is not None or group.theta.numel() <= self.gathered:
            return [torch.linalg.vector_norm(group.grad, dim=1)]
        decayed, others = group.gradients()
        gradients = [grad for _, grad in decayed + others]
        return [norm.view(1) for norm in torch._foreach_norm(gradients)]

    def _restart(self, index: int, rows: Sequence[int]) -> None:
        """Set the moments of a group to zero for replicas in `rows`."""
        for moments in self.moments.values():
            moments[index][list(rows)] = 0

    def zero_grad(self) -> None:
        for group in self.groups:
            group.clear_gradients()

    def _update(self, index: int, group: ParameterGroup, start: int, stop: int, factor: Tensor) -> None:
        self._update_columns(index, group, group.grad[:, start:stop].mul_(factor), start, stop)

    def _update_single(self, index: int, group: ParameterGroup, factor: Tensor) -> None:
        """Update one replica, whose gradients may lie in several tensors."""
        for parts in group.gradients():
            for first, grad in parts:
                grad.mul_(factor)
                for start, stop in self._iterate_chunks(grad.shape[1]):
                    self._update_columns(index, group, grad[:, start:stop], first + start, first + stop)

    def _update_columns(self, index: int, group: ParameterGroup, grad: Tensor, start: int, stop: int) -> None:
        """Update columns of theta by their clipped gradients [K, n]."""
        theta, decayed = group.theta[:, start:stop], max(0, min(stop, group.decayed) - start)
        grad = self._apply_decay(index, theta, grad, decayed) if self.decays else grad
        theta.sub_(self._compute_step(index, grad, start, stop))

    def _update_projected(self, index: int, group: ParameterGroup, factor: Tensor) -> None:
        """Update leaf by leaf with moments of the projected gradient; weight decay acts on the whole parameter."""
        if self.decays and self.optimizer.decay == "decoupled":
            self._apply_decay(index, group.theta, group.theta, group.decayed)
        for projector, leaf, start, stop in group.iterate_projectors():
            small = self._project(group, projector, leaf, factor)
            leaf.tensor[0].sub_(projector.lift(self._compute_step(index, small, start, stop)[0]))

    def _project(self, group: ParameterGroup, projector: Projector, leaf: Leaf, factor: Tensor) -> Tensor:
        """The projected gradient [1, n] of a leaf, with weight decay where it is part of the gradient."""
        grad = group.gradient_of(leaf)[0].mul_(factor.view(()))
        if self.decays and self.optimizer.decay == "coupled" and leaf.start < group.decayed:
            grad = grad.add(leaf.tensor[0], alpha=self.protocols[0].weight_decay)
        return projector.project(grad, self.steps)[None]

    def _apply_decay(self, index: int, theta: Tensor, grad: Tensor, columns: int) -> Tensor:
        """Decay the first columns of theta, or add their decay to the gradient, a new tensor; returns the gradient."""
        if columns and self.optimizer.decay == "decoupled":
            theta[:, :columns].mul_(1 - self._now(self.tables["shrink"]) * self.scales[index])
        elif columns:
            # not in place: methods may read the gradient after the step
            grad = grad.clone()
            grad[:, :columns].addcmul_(theta[:, :columns], self.fields["weight_decay"])
        return grad

    def _compute_step(self, index: int, grad: Tensor, start: int, stop: int) -> Tensor:
        """What is subtracted from these columns, [K, n]; updates their moments."""
        moments = {name: parts[index][:, start:stop] for name, parts in self.moments.items()}
        return self.optimizer.compute_step(grad, moments, StepValues(self, index))

    def _now(self, table: Tensor) -> Tensor:
        """The current step's row of a table [steps, K], as [K, 1]."""
        return table.index_select(0, self._at).view(-1, 1)

    def _get_rate(self, row: int, group: ParameterGroup) -> float:
        """The learning rate of a replica at the current step, on the host."""
        return self.rates[row][self.steps] * group.lr_scale[row]

    def _count_now(self, row: int, group: ParameterGroup) -> int:
        """The number of the current step, from 1 on, since a replica's moments started."""
        every = group.restarts[row]
        return (self.steps % every if every else self.steps) + 1

    def list_tensors(self) -> list[Tensor]:
        """All tensors that it keeps between steps."""
        return [moment for parts in self.moments.values() for moment in parts]

    def state(self) -> dict[str, Any]:
        """A copy on the host of the step, the moments and the projectors' own tensors."""
        projector_states = []
        for group in self.groups:
            projector_states.append([projector.state() for projector in group.projectors.values()])
        return {"steps": self.steps, "moments": self._copy_moments(), "projectors": projector_states}

    def _copy_moments(self) -> Any:
        # a copy even on a CPU: training changes the moments in place
        moments: dict[str, list[Tensor]] = {}
        for name, parts in self.moments.items():
            moments[name] = [part.to("cpu", copy=True) for part in parts]
        return moments

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a state of the same groups and replicas."""
        self.steps = state["steps"]
        self._restore_moments(state["moments"])
        for group, values in zip(self.groups, state["projectors"], strict=True):
            for projector, value in zip(group.projectors.values(), values, strict=True):
                projector.restore(value)

    def _restore_moments(self, stored: Any) -> None:
        for name, parts in self.moments.items():
            for part, value in zip(parts, stored[name], strict=True):
                part.copy_(value)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all replicas except `rows`; the groups must have dropped them before."""
        chosen = list(rows)
        self._keep_moments(chosen)
        self.protocols = [self.protocols[r] for r in chosen]
        self.rates = [self.rates[r] for r in chosen]
        self._build_tables()

    def _keep_moments(self, rows: list[int]) -> None:
        for name, parts in self.moments.items():
            self.moments[name] = [part[rows].contiguous() for part in parts]


class StepValues(Mapping[str, Tensor]):
    """The values [K, 1] of the current step by name; each is read from its table where it is used."""

    def __init__(self, updater: ReplicaOptimizer, index: int) -> None:
        self.updater, self.index = updater, index

    def __getitem__(self, name: str) -> Tensor:
        updater = self.updater
        if name in updater.fields:
            return updater.fields[name]
        if name == "scale":
            return updater.scales[self.index]
        if name == "rate":
            return updater._now(updater.tables["rates"]) * updater.scales[self.index]
        return updater._now(updater.group_tables[self.index][name])

    def __iter__(self) -> Iterator[str]:
        return iter((*self.updater.fields, "scale", "rate", *self.updater.group_tables[self.index]))

    def __len__(self) -> int:
        return len(list(iter(self)))
