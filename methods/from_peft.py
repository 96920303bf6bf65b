"""Methods that peft implements well, in our training loop: its modules, our memory, streams and schedule."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from harness.core.errors import CellFailed, UserError
from harness.core.method import Calibration, Exported, Member, Method, Site
from methods.lowrank import find_sites

if TYPE_CHECKING:
    from torch import nn

    from harness.replicas.groups import Attached


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromPeft(Method):
    """One replica; the adapter is what peft makes trainable, under the seed of the init stream."""

    family: ClassVar[str | None] = None
    autocasts: ClassVar[bool] = True
    exports: ClassVar[bool] = True

    @property
    @abc.abstractmethod
    def sites(self) -> tuple[tuple[str, ...], int]:
        """Names of target layers, and the rank at them."""

    @abc.abstractmethod
    def config(self, targets: list[str], member: Member) -> Any:
        """peft's configuration for layers given by path."""

    def register_hooks(self, tuner: Any, attached: Attached) -> None:
        """Hang peft's schedule into the training loop."""

    def fits(self, model: nn.Module) -> None:
        for site in find_sites(model, *self.sites):
            most = self.most(site)
            if site.rank > most:
                raise UserError(
                    f"rank {site.rank}: {site.name} maps {site.d_in} to {site.d_out}; allowed: {most} at most"
                )

    def most(self, site: Site) -> int:
        """The largest rank that a site has room for."""
        return min(site.d_in, site.d_out)

    def attach(self, model: nn.Module, members: Sequence[Member], calibration: Calibration) -> Attached:
        from torch import Tensor

        from harness.replicas.groups import Attached
        from methods.layers.backbone import group_parameters
        from methods.layers.replica_linear import attach_heads

        model.requires_grad_(False)
        (member,) = members
        head = attach_heads(model, [member.streams])
        targets = [site.name for site in find_sites(model, *self.sites)]
        before = {id(p) for p in model.parameters()} | {id(b) for b in model.buffers()}
        tuner = call_seeded(
            lambda: self.tuner(model, self.config(targets, member)), member.streams.integer("init", "peft")
        )
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        if not trained:
            raise CellFailed(f"{self.name}: peft made nothing trainable")
        ours = {id(p) for p in trained.values()}
        new = {id(t): t for t in (*model.parameters(), *model.buffers()) if id(t) not in before | ours}
        group = group_parameters("adapter", trained)
        stored, size = (sum(count(t) for t in new.values()) for count in (Tensor.numel, lambda t: t.nbytes))
        attached = Attached([group], stored=[stored], frozen_bytes=[size], tuner=tuner)
        self.register_hooks(tuner, attached)
        return attached.join(head)

    def export(self, model: nn.Module, attached: Attached, slot: int) -> Exported:
        from methods.layers.exporting import export_tuner

        return export_tuner(model, attached)

    def tuner(self, model: nn.Module, config: Any) -> Any:
        """peft's tuner, its layers put into the model."""
        from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING

        return PEFT_TYPE_TO_TUNER_MAPPING[config.peft_type](model, config, "default")


def call_seeded(make: Callable[[], Any], seed: int) -> Any:
    """Call `make` under a seed of its own, the global generator being put back, without peft's warnings."""
    import warnings

    import torch

    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        return make()
