"""Start training from a trained adapter (`--init-from`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from harness.core.errors import UserError
from harness.core.method import Initial, Site
from harness.replicas.groups import ParameterGroup
from methods.layers.replica_linear import find_head_linears

Start = tuple[Tensor, Tensor]


def replace_factors(drawn: Start, pair: tuple[Tensor, Tensor, float] | None, scale: float) -> Start:
    """The adapter's A and B in place of the drawn ones; B is rescaled so that scale * B A stays equal.

    Ranks that the adapter lacks stay as drawn: one of their factors is zero, so they have no effect.
    """
    if pair is None:
        return drawn
    a, b, pair_scale = pair
    count = len(a)
    return torch.cat([a.double(), drawn[0][count:]]), torch.cat(
        [b.double() * (pair_scale / scale), drawn[1][:, count:]], 1
    )


def set_heads(group: ParameterGroup, initials: Sequence[Initial | None]) -> None:
    """Copy the adapters' heads into a pack's group "head", where they fit."""
    for row, initial in enumerate(initials):
        shapes = {name: leaf.shape for name, leaf in group.leaves.items()}
        for name in list_fitting_tensors(shapes, initial.head) if initial else ():
            assert initial is not None
            group.leaves[name].tensor.detach()[row].copy_(initial.head[name])


def list_fitting_tensors(shapes: Mapping[str, tuple[int, ...]], head: Mapping[str, Tensor]) -> list[str]:
    """Names of the head's tensors to load: of layers whose weight and bias both have the right shape."""
    layers: dict[str, list[str]] = {}
    for name in shapes:
        layers.setdefault(name.rpartition(".")[0], []).append(name)
    head_shapes = {name: tuple(value.shape) for name, value in head.items()}
    fitting: list[str] = []
    for names in layers.values():
        if all(head_shapes.get(name) == shapes[name] for name in names):
            fitting += names
    return fitting


def check_pairs(initial: Initial, sites: Sequence[Site], rank: int) -> None:
    """Raise UserError where the adapter has another rank, other layers or other widths."""
    if initial.rank != rank:
        raise UserError(f"rank={rank}: the adapter of --init-from has rank {initial.rank}; give that rank")
    sites_by_name = {site.name: site for site in sites}
    for name, (a, b, _) in initial.pairs.items():
        if name not in sites_by_name:
            raise UserError(
                f"the adapter of --init-from has layer {name}; allowed: the target's, such as {sites[0].name}"
            )
        have, want = (a.shape[1], b.shape[0]), (sites_by_name[name].d_in, sites_by_name[name].d_out)
        if have != want:
            widths = "{} to {}".format
            raise UserError(f"the adapter of --init-from maps {widths(*have)} at {name}; allowed: {widths(*want)}")
        if not 0 < len(a) == b.shape[1] <= rank:
            raise UserError(f"the adapter of --init-from has A {list(a.shape)}, B {list(b.shape)} at {name}: no pair")


def check_other_tensors(model: nn.Module, initial: Initial) -> list[str]:
    """Names of head layers that stay random. Raises UserError where the adapter also changes backbone weights."""
    linears = dict(find_head_linears(model))
    parameters = dict(model.named_parameters(remove_duplicate=False))
    allowed = "allowed: low-rank pairs and a head"
    for name, value in initial.head.items():
        if name not in parameters:
            raise UserError(f"the adapter of --init-from has {name}, which this model lacks; {allowed}")
        if name.rpartition(".")[0] in linears:
            continue
        if not _is_settable(model, name, set(linears)):
            raise UserError(f"the adapter of --init-from changes {name} too; {allowed}")
        if value.shape != parameters[name].shape:
            actual, expected = list(value.shape), list(parameters[name].shape)
            raise UserError(f"the adapter of --init-from has {name} of shape {actual}; allowed: {expected}")
    shapes = {n: tuple(p.shape) for n, p in parameters.items() if n.rpartition(".")[0] in linears}
    loaded = {name.rpartition(".")[0] for name in list_fitting_tensors(shapes, initial.head)}
    return [name for name in linears if name not in loaded]


def _is_settable(model: nn.Module, name: str, linears: Collection[str]) -> bool:
    """Whether a frozen tensor may come from an adapter: one in the head, or one that the base's file lacks.

    Our own adapters save both kinds.
    """
    tops = {linear.partition(".")[0] for linear in linears}
    return name.partition(".")[0] in tops or name in getattr(model, "newly_drawn_parameters", ())


def set_frozen(model: nn.Module, initials: Sequence[Initial | None], linears: Collection[str]) -> None:
    """Copy the adapters' tensors outside of head layers into the model, which all members of a pack share.

    Raises UserError where members have different values, because then each has to train alone.
    """
    parameters = dict(model.named_parameters())
    # Tensors of head layers differ by replica and are set in `set_heads`.
    names = {n for i in initials if i for n in i.head if n in parameters and n.rpartition(".")[0] not in linears}
    for name in sorted(names):
        values = [parameters[name] if i is None else i.head.get(name, parameters[name]) for i in initials]
        wanted = values[0].to(parameters[name])
        if any(not torch.equal(value.to(wanted), wanted) for value in values):
            raise UserError(f"the adapters of --init-from have different values of {name}, so they cannot share a pack")
        parameters[name].data.copy_(wanted)
