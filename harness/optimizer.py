"""AdamW (arXiv 1711.05101) over K replicas at once: every hyperparameter is a vector over K."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from harness.cell import Protocol
from harness.groups import ParameterGroup

CHUNK = 1 << 22  # columns updated at a time: bounds the temporaries of a large backbone


class ReplicaAdamW:
    """torch.optim.AdamW's update on rows of [K, N] matrices, with gradient clipping per replica.

    `rates` [K][steps]; a replica with fewer steps than its neighbours must leave the pack when it is done.
    """

    def __init__(
        self, groups: Sequence[ParameterGroup], protocols: Sequence[Protocol], rates: Sequence[Sequence[float]]
    ) -> None:
        self.groups = list(groups)
        self.first = [torch.zeros_like(g.theta) for g in groups]
        self.second = [torch.zeros_like(g.theta) for g in groups]
        self.device = groups[0].theta.device
        self.protocols, self.rates = list(protocols), [list(r) for r in rates]
        self.steps = 0
        self._tables()

    def _tables(self) -> None:
        """Per-step scalars [steps, K], on the device at once so that a step copies nothing to it."""
        longest = max(len(r) for r in self.rates)

        def wide(values: object) -> Tensor:
            return torch.tensor(values, dtype=torch.float64, device=self.device)

        dtype = self.groups[0].theta.dtype
        rates = wide([r + [0.0] * (longest - len(r)) for r in self.rates]).T
        count = wide(list(range(1, longest + 1)))[:, None]
        self.beta1 = wide([p.beta1 for p in self.protocols])
        self.beta2 = wide([p.beta2 for p in self.protocols])
        decay = wide([p.weight_decay for p in self.protocols])
        self.step_size = (rates / (1 - self.beta1**count)).to(dtype)
        self.root = (1 - self.beta2**count).sqrt().to(dtype)
        self.shrink = (rates * decay).to(dtype)
        self.clip = torch.tensor([p.clip for p in self.protocols], dtype=dtype, device=self.device)
        self.epsilon = torch.tensor([p.epsilon for p in self.protocols], dtype=dtype, device=self.device)[:, None]
        self.beta1, self.beta2 = self.beta1.to(dtype)[:, None], self.beta2.to(dtype)[:, None]
        self.scales = [wide(g.lr_scale).to(dtype)[:, None] for g in self.groups]

    @torch.no_grad()
    def step(self) -> Tensor:
        """One update; returns the gradient norms [K] before clipping. Gradients stay, clipped, until `zero_grad`."""
        squares = [(g.grad * g.grad).sum(1) for g in self.groups]
        norm = torch.stack(squares).sum(0).sqrt()
        factor = (self.clip / (norm + 1e-6)).clamp(max=1.0)[:, None]
        for index, group in enumerate(self.groups):
            for start in range(0, group.theta.shape[1], CHUNK):
                self._update(index, group, start, min(start + CHUNK, group.theta.shape[1]), factor)
        self.steps += 1
        return norm

    def zero_grad(self) -> None:
        for group in self.groups:
            group.grad.zero_()

    def _update(self, index: int, group: ParameterGroup, start: int, stop: int, factor: Tensor) -> None:
        theta, first = group.theta[:, start:stop], self.first[index][:, start:stop]
        second, grad = self.second[index][:, start:stop], group.grad[:, start:stop]
        grad.mul_(factor)
        decayed = max(0, min(stop, group.decayed) - start)
        if decayed:
            theta[:, :decayed].mul_(1 - self.shrink[self.steps][:, None] * self.scales[index])
        first.lerp_(grad, 1 - self.beta1)
        second.mul_(self.beta2).add_(grad * grad * (1 - self.beta2))
        below = second.sqrt().div_(self.root[self.steps][:, None]).add_(self.epsilon)
        theta.sub_(first / below * (self.step_size[self.steps][:, None] * self.scales[index]))

    def keep(self, rows: Sequence[int]) -> None:
        """Compact to `rows`, after the groups were."""
        chosen = list(rows)
        self.first = [m[chosen].contiguous() for m in self.first]
        self.second = [v[chosen].contiguous() for v in self.second]
        self.protocols = [self.protocols[r] for r in chosen]
        self.rates = [self.rates[r] for r in chosen]
        self._tables()
