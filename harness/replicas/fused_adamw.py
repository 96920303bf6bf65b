"""AdamW of one replica by torch's fused kernel, because memory bounds the time and the kernel reads it only once."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.replicas.groups import ParameterGroup
from harness.replicas.optimizer import ReplicaOptimizer


class FusedAdamW(ReplicaOptimizer):
    """AdamW: elementwise for a pack, torch's fused kernel for one replica."""

    def _build_tables(self) -> None:
        super()._build_tables()
        longest = len(self.tables["rates"])
        counts = [self._count_steps(group, longest) for group in self.groups]
        self.count = [count.expand_as(self.tables["rates"]).float() for count in counts]

    def _update_single(self, index: int, group: ParameterGroup, factor: Tensor) -> None:
        protocol = self.protocols[0]
        rate, count = self._get_single_rate(index, group)
        rows = [t[0] for t in (group.theta, self.moments["first"][index], self.moments["second"][index])]
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
            return self._get_rate(0, group), torch.tensor(float(self._count_now(0, group)))
        rate = self._now(self.tables["rates"]) * self.scales[index]
        return rate.float().view(()), self._now(self.count[index]).view(())
