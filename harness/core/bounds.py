"""Bounds of a method's options, declared as annotated types and checked in one place.

size: Annotated[int, Ge(1)] = option(8, "width of the bottleneck")      size=0: allowed: 1 or more
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval, Le, Lt, MinLen

from harness.core.errors import UserError

Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0)]
DropoutRate = Annotated[float, Interval(ge=0, lt=1)]
LayerNames = Annotated[tuple[str, ...], MinLen(1)]

Bound = tuple[str, Callable[[Any], bool]]
"""What is allowed, in words, and whether a value is within it. NaN is within no bound."""


def _build_bound(declared: object) -> Bound | None:
    """The bound that one piece of an annotation declares; None for another piece."""
    match declared:
        case Ge(limit):
            return f"{limit} or more", lambda value: value >= limit
        case Gt(limit):
            return f"above {limit}", lambda value: value > limit
        case Le(limit):
            return f"at most {limit}", lambda value: value <= limit
        case Lt(limit):
            return f"below {limit}", lambda value: value < limit
        case MinLen(limit):
            return f"{limit} or more, joined with +", lambda value: len(value) >= limit
    return None


@functools.cache
def read_bounds(kind: type) -> Mapping[str, tuple[Bound, ...]]:
    """The bounds of each field of a dataclass that declares some."""
    bounds: dict[str, tuple[Bound, ...]] = {}
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        pieces: list[object] = []
        for piece in getattr(hints[field.name], "__metadata__", ()):
            # an interval is a group of up to four bounds
            pieces += piece if isinstance(piece, Interval) else [piece]
        if found := tuple(bound for bound in map(_build_bound, pieces) if bound is not None):
            bounds[field.name] = found
    return bounds


def describe_bounds(kind: type, field: str) -> str:
    """The values that a field's annotation allows, in words; '' without bounds."""
    return ", ".join(words for words, _ in read_bounds(kind).get(field, ()))


def check_bounds(options: Any) -> None:
    """Raise UserError for the first field of a dataclass whose value is outside of its bounds.

    The message has the words of the field's metadata `allowed`, where they say more than the bounds.
    """
    kind: type = type(options)
    metadata = {field.name: field.metadata for field in dataclasses.fields(kind)}
    for name, bounds in read_bounds(kind).items():
        value = getattr(options, name)
        if not all(is_within(value) for _, is_within in bounds):
            allowed = metadata[name].get("allowed") or describe_bounds(kind, name)
            text = f"{name} is empty" if value == () else f"{name}={value}"
            raise UserError(f"{text}: allowed: {allowed}")
