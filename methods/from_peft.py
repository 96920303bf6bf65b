"""Run methods of peft in our training loop: peft's modules with our parameter storage, seeds and schedule."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from harness.core.errors import CellFailed, UserError
from harness.core.method import Calibration, Exported, Member, Method, Site
from methods.sites import find_sites

if TYPE_CHECKING:
    from torch import nn

    from harness.replicas.groups import Attached


@dataclasses.dataclass(frozen=True, kw_only=True)
class FromPeft(Method):
    """A method that trains alone; its adapter is what peft makes trainable, seeded from the init stream."""

    family: ClassVar[str | None] = None
    autocasts: ClassVar[bool] = True
    exports: ClassVar[bool] = True

    @property
    @abc.abstractmethod
    def sites(self) -> tuple[tuple[str, ...], int]:
        """(names of target layers, rank at each)."""

    @abc.abstractmethod
    def config(self, targets: list[str], member: Member) -> Any:
        """peft's configuration for target layers given by path."""

    def register_hooks(self, tuner: Any, attached: Attached) -> None:
        """Connect peft's own schedule to the training loop; most methods have none."""

    def fits(self, model: nn.Module) -> None:
        for site in find_sites(model, *self.sites):
            most = self.most(site)
            if site.rank > most:
                raise UserError(
                    f"rank {site.rank}: {site.name} maps {site.d_in} to {site.d_out}; allowed: {most} at most"
                )

    def most(self, site: Site) -> int:
        """The largest rank that a site allows."""
        return min(site.d_in, site.d_out)

    def attach(self, model: nn.Module, members: Sequence[Member], calibration: Calibration) -> Attached:
        from torch import Tensor

        from harness.replicas.groups import Attached
        from methods.layers.backbone import group_parameters
        from methods.layers.replica_linear import attach_heads

        model.requires_grad_(False)
        # peft's modules have no replica axis, so a pack has one member.
        (member,) = members
        head = attach_heads(model, [member.streams])
        targets = [site.name for site in find_sites(model, *self.sites)]
        # Identity, not name: peft moves the wrapped layers to other paths.
        before = {id(p) for p in model.parameters()} | {id(b) for b in model.buffers()}
        tuner = call_seeded(
            lambda: self.tuner(model, self.config(targets, member)), member.streams.integer("init", "peft")
        )
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        if not trained:
            raise CellFailed(f"{self.name}: peft made no parameter trainable")
        ours = {id(p) for p in trained.values()}
        # Tensors that peft adds without training them, such as the shared projections of VeRA.
        new = {id(t): t for t in (*model.parameters(), *model.buffers()) if id(t) not in before | ours}
        group = group_parameters("adapter", trained)
        stored, size = sum(map(Tensor.numel, new.values())), sum(tensor.nbytes for tensor in new.values())
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
    """Call `make` under its own seed, without peft's warnings; the global generator's state is restored."""
    import warnings

    import torch

    # peft draws from the global generator and takes no generator of ours.
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        return make()
