"""AdamW (arXiv 1711.05101) for K replicas at once: every hyperparameter is a vector over K.

    theta, gradients, moments [K, N]      norm, clip, epsilon [K]      tables of rates and bias corrections [steps, K]

One replica alone is updated by torch's fused kernel; projected gradients leaf by leaf; a pack in chunks of columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness.core.cell import Protocol
from harness.replicas.groups import ParameterGroup

CHUNK, CACHED = 1 << 22, 1 << 18
"""Columns (on a CPU: entries) of one chunk: it bounds temporaries, and on a CPU it fits into the caches."""
GATHERED = {"cpu": 1 << 27, "cuda": 0}
"""Largest group whose gradients, where autograd created them, are copied side by side for their norm.

For a larger group it is the norm of the leaves' norms. A CPU adds up in the precision of the entries, so the last bits
of a norm depend on this. Up to 2**27 entries (RoBERTa-base has fewer) they equal those of a gradient buffer, which
earlier records were made with.
"""


class ReplicaAdamW:
    """torch.optim.AdamW on the rows of matrices [K, N], with gradient clipping per replica.

    `rates` [K][steps] are learning rates. A replica with fewer steps than its neighbours must leave the pack when it
    has taken them.
    """

    def __init__(
        self, groups: Sequence[ParameterGroup], protocols: Sequence[Protocol], rates: Sequence[Sequence[float]]
    ) -> None:
        self.groups = list(groups)
        self.first = [g.theta.new_zeros(len(g.counts), g.moment_columns) for g in groups]
        self.second = [torch.zeros_like(m) for m in self.first]
        self.device = groups[0].theta.device
        self.gathered = GATHERED[self.device.type]
        self.protocols, self.rates = list(protocols), [list(r) for r in rates]
        self.steps = 0
        self._at = torch.zeros(1, dtype=torch.int64, device=self.device)
        self._build_tables()

    def _build_tables(self) -> None:
        """Build tables of scalars [steps, K] on the device, so that a step copies nothing from the host.

        Bias correction is per group, because it counts the steps since the group's moments last started from zero.
        """
        longest = max(len(r) for r in self.rates)

        def wide(values: object) -> Tensor:
            return torch.tensor(values, dtype=torch.float64, device=self.device)

        # Tables are computed in float64 and cast once: 1 - beta ** count loses digits in float32.
        dtype = self.groups[0].theta.dtype
        rates = wide([r + [0.0] * (longest - len(r)) for r in self.rates]).T
        counts = []
        for group in self.groups:
            periods = wide([every or longest for every in group.restarts])
            counts.append(wide(range(longest))[:, None] % periods + 1)
        self.beta1 = wide([p.beta1 for p in self.protocols])
        self.beta2 = wide([p.beta2 for p in self.protocols])
        decay = wide([p.weight_decay for p in self.protocols])
        self.step_size = [(rates / (1 - self.beta1**count)).to(dtype) for count in counts]
        self.root = [(1 - self.beta2**count).sqrt().to(dtype) for count in counts]
        self.shrink = (rates * decay).to(dtype)
        self.rate_now, self.count = rates.to(dtype), [count.expand_as(rates).float() for count in counts]
        self.clip = torch.tensor([p.clip for p in self.protocols], dtype=dtype, device=self.device)
        self.epsilon = torch.tensor([p.epsilon for p in self.protocols], dtype=dtype, device=self.device)[:, None]
        self.beta1, self.beta2 = self.beta1.to(dtype)[:, None], self.beta2.to(dtype)[:, None]
        self.scales = [wide(g.lr_scale).to(dtype)[:, None] for g in self.groups]

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
            self._restart(index, group)

    @torch.no_grad()
    def update(self) -> Tensor:
        """Do the device's part of a step, which a CUDA graph can capture; returns the norms [K] before clipping."""
        norms = [norm for group in self.groups for norm in self._norms(group)]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(norms), dim=0)
        # The formula of torch.nn.utils.clip_grad_norm_, per replica.
        factor = (self.clip / (norm + 1e-6)).clamp(max=1.0)[:, None]
        for index, group in enumerate(self.groups):
            if group.projectors:
                self._update_projected(index, group, factor)
            elif len(self.rates) == 1:
                self._update_single(index, group, factor)
            else:
                columns = group.theta.shape[1]
                chunk = max(1, CACHED // len(self.rates)) if self.device.type == "cpu" else CHUNK
                for start in range(0, columns, chunk):
                    self._update(index, group, start, min(start + chunk, columns), factor)
            if group.parameters:
                group.clear_gradients()
        return norm

    def _norms(self, group: ParameterGroup) -> Sequence[Tensor]:
        """Norms [K] of disjoint parts that together are all gradients of a group."""
        if group.grad_buffer is not None or group.theta.numel() <= self.gathered:
            return [torch.linalg.vector_norm(group.grad, dim=1)]
        decayed, others = group.gradients()
        gradients = [grad for _, grad in decayed + others]
        return [norm.view(1) for norm in torch._foreach_norm(gradients)]

    def _restart(self, index: int, group: ParameterGroup) -> None:
        """Set the moments to zero for replicas whose moments restart at this step."""
        rows = [row for row, every in enumerate(group.restarts) if every and self.steps % every == 0]
        if rows:
            self.first[index][rows] = 0
            self.second[index][rows] = 0

    def zero_grad(self) -> None:
        for group in self.groups:
            group.clear_gradients()

    def _update(self, index: int, group: ParameterGroup, start: int, stop: int, factor: Tensor) -> None:
        theta, grad = group.theta[:, start:stop], group.grad[:, start:stop]
        grad.mul_(factor)
        self._apply_decay(index, theta, max(0, min(stop, group.decayed) - start))
        theta.sub_(self._compute_direction(index, grad, start, stop) * self._get_step_size(index))

    def _update_single(self, index: int, group: ParameterGroup, factor: Tensor) -> None:
        """Update one replica with torch's fused kernel: memory bounds the time, and the kernel reads it only once."""
        protocol = self.protocols[0]
        rate, count = self._get_single_rate(index, group)
        rows = [t[0] for t in (group.theta, self.first[index], self.second[index])]
        for parts, decay in zip(group.gradients(), (protocol.weight_decay, 0.0), strict=True):
            if parts:
                grads = [grad[0] for _, grad in parts]
                torch._foreach_mul_(grads, factor.view(()))
                spans = [slice(start, start + grad.shape[1]) for start, grad in parts]
                theta, first, second = (list(map(row.__getitem__, spans)) for row in rows)
                torch._fused_adamw_(
                    theta,
                    grads,
                    first,
                    second,
                    [],
                    [count] * len(parts),
                    lr=rate,
                    beta1=protocol.beta1,
                    beta2=protocol.beta2,
                    weight_decay=decay,
                    eps=protocol.epsilon,
                    amsgrad=False,
                    maximize=False,
                )

    def _get_single_rate(self, index: int, group: ParameterGroup) -> tuple[float | Tensor, Tensor]:
        """Learning rate and steps since the moments started; on a GPU tensors, which a replayed graph reads."""
        if self.device.type == "cpu":
            every = group.restarts[0]
            count = torch.tensor(float(self.steps % every + 1 if every else self.steps + 1))
            return self.rates[0][self.steps] * group.lr_scale[0], count
        rate = self._now(self.rate_now) * self.scales[index]
        return rate.float().view(()), self._now(self.count[index]).view(())

    def _update_projected(self, index: int, group: ParameterGroup, factor: Tensor) -> None:
        """Update leaf by leaf with moments of the projected gradient; weight decay acts on the whole parameter."""
        self._apply_decay(index, group.theta, group.decayed)
        for projector, leaf, start, stop in group.iterate_projectors():
            grad = group.gradient_of(leaf)[0].mul_(factor.view(()))
            small = projector.project(grad, self.steps)[None]
            update = self._compute_direction(index, small, start, stop) * self._get_step_size(index)
            leaf.tensor[0].sub_(projector.lift(update[0]))

    def _apply_decay(self, index: int, theta: Tensor, columns: int) -> None:
        if columns:
            theta[:, :columns].mul_(1 - self._now(self.shrink) * self.scales[index])

    def _get_step_size(self, index: int) -> Tensor:
        return self._now(self.step_size[index]) * self.scales[index]

    def _now(self, table: Tensor) -> Tensor:
        """The current step's row of a table [steps, K], as [K, 1]."""
        return table.index_select(0, self._at).view(-1, 1)

    def _compute_direction(self, index: int, grad: Tensor, start: int, stop: int) -> Tensor:
        """Update these columns of both moments; returns first moment / sqrt(second moment), bias-corrected, [K, n]."""
        first, second = self.first[index][:, start:stop], self.second[index][:, start:stop]
        first.lerp_(grad, 1 - self.beta1)
        second.mul_(self.beta2).add_(grad * grad * (1 - self.beta2))
        return first / second.sqrt().div_(self._now(self.root[index])).add_(self.epsilon)

    def state(self) -> dict[str, Any]:
        """A copy on the host of the step, the moments and the projectors' own tensors."""
        projector_states = []
        for group in self.groups:
            projector_states.append([projector.state() for projector in group.projectors.values()])
        return {
            "steps": self.steps,
            "first": [m.to("cpu", copy=True) for m in self.first],
            "second": [v.to("cpu", copy=True) for v in self.second],
            "projectors": projector_states,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a state of the same groups and replicas."""
        self.steps = state["steps"]
        for moments, saved in ((self.first, state["first"]), (self.second, state["second"])):
            for moment, value in zip(moments, saved, strict=True):
                moment.copy_(value)
        for group, values in zip(self.groups, state["projectors"], strict=True):
            for projector, value in zip(group.projectors.values(), values, strict=True):
                projector.restore(value)

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all replicas except `rows`; the groups must have dropped them before."""
        chosen = list(rows)
        self.first = [m[chosen].contiguous() for m in self.first]
        self.second = [v[chosen].contiguous() for v in self.second]
        self.protocols = [self.protocols[r] for r in chosen]
        self.rates = [self.rates[r] for r in chosen]
        self._build_tables()
