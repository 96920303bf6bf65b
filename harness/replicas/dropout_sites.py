"""Install counter-based dropout in a model: for each nn.Dropout, and for calls of torch.nn.functional.dropout.

nn.Dropout at path p                         -> CounterDropout, site p
call number i in the forward pass at path p  -> CounterDropout, site p.dropout.i   (BART and related models)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from harness.replicas.dropout import Clock, CounterDropout


class DropoutCallSites(nn.Module):
    """The dropouts of one module's own calls, numbered by their order in its forward pass.

    It is a child of that module, so a pack that shrinks finds its CounterDropouts.
    """

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path
        self.sites = nn.ModuleList()
        self.clock: Clock | None = None

    def site(self, number: int, p: float) -> nn.Module:
        """The dropout of call `number`, created at the first call."""
        if number == len(self.sites):
            assert self.clock is not None
            dropout = CounterDropout([p] * len(self.clock.seeds), f"{self.path}.dropout.{number}")
            dropout.bind(self.clock)
            self.sites.append(dropout)
        return self.sites[number]


class _DropoutCallMode(TorchFunctionMode):
    """Redirects each call of dropout to the module's next site; submodules have modes of their own."""

    def __init__(self, calls: DropoutCallSites) -> None:
        super().__init__()
        self.calls, self.number = calls, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not nn.functional.dropout:
            return func(*args, **(kwargs or {}))
        return self._apply_dropout(*args, **(kwargs or {}))

    def _apply_dropout(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or not p:
            return x
        self.number += 1
        output: Tensor = self.calls.site(self.number - 1, p)(x)
        return output


def has_dropout_rate(module: nn.Module) -> bool:
    """Whether a module stores a dropout rate above 0 as a plain number."""
    attributes = vars(module).items()
    return any("dropout" in name and isinstance(value, float) and value > 0 for name, value in attributes)


def find_dropout_callers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path, module) of each module with a dropout rate whose calls are not redirected yet."""
    # A list, because the callers below add submodules while they iterate.
    for path, module in list(model.named_modules()):
        if has_dropout_rate(module) and not hasattr(module, "counted_calls"):
            yield path, module


def count_calls(path: str, module: nn.Module) -> None:
    """Redirect the dropout calls of a module's forward pass to sites named after its path."""
    calls = DropoutCallSites(path)
    module.counted_calls = calls
    inner = module.forward

    @functools.wraps(inner)
    def forward(*args: Any, **kwargs: Any) -> Any:
        if not module.training:
            return inner(*args, **kwargs)
        with _DropoutCallMode(calls):
            return inner(*args, **kwargs)

    module.forward = forward


def install_dropout(model: nn.Module, seeds: Sequence[int], stride: int, device: torch.device | str) -> Clock:
    """Replace each nn.Dropout with p > 0 and each call of nn.functional.dropout by CounterDropout; returns their clock.

    `seeds` has one seed per replica; `stride` is the longest row in positions.
    """
    clock = Clock.start(seeds, stride, device)
    for path, module in list(model.named_modules()):
        if isinstance(module, nn.Dropout) and module.p > 0:
            parent, _, name = path.rpartition(".")
            setattr(model.get_submodule(parent), name, CounterDropout([module.p] * len(seeds), path))
    for path, module in find_dropout_callers(model):
        count_calls(path, module)
    for module in model.modules():
        if isinstance(module, CounterDropout):
            module.bind(clock)
        elif isinstance(module, DropoutCallSites):
            module.clock = clock
    return clock


def select_dropout_replicas(model: nn.Module, clock: Clock, rows: Sequence[int]) -> None:
    """Drop all replicas except `rows` from the clock and from each dropout."""
    clock.keep(rows)
    for module in model.modules():
        if isinstance(module, CounterDropout):
            module.keep_rows(rows)
