"""Bounds of options against pydantic, which reads the same annotations."""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import Annotated, Any

import pytest
from annotated_types import Ge, Gt, Interval, Le, Lt, MinLen
from pydantic import TypeAdapter, ValidationError

from harness.core.bounds import check_bounds, describe_bounds, read_bounds
from harness.core.errors import UserError
from harness.core.method import METHODS, Method
from harness.core.registry import load_package

load_package("methods")
NUMBERS = [-math.inf, -1, -1e-9, 0, 1e-9, 0.5, 1, 1.0000001, 2, 17, math.inf, math.nan]


@dataclasses.dataclass(frozen=True)
class Options:
    count: Annotated[int, Ge(1)] = 1
    above: Annotated[float, Gt(0)] = 1.0
    share: Annotated[float, Interval(gt=0, le=1)] = 0.5
    rate: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    most: Annotated[float, Le(2)] = 0.0
    below: Annotated[float, Lt(2)] = 0.0
    names: Annotated[tuple[str, ...], MinLen(1)] = ("query",)
    free: float = 0.0


def is_refused(options: Any) -> bool:
    try:
        check_bounds(options)
    except UserError as error:
        assert "\n" not in str(error) and "allowed: " in str(error)
        return True
    return False


def is_refused_by_pydantic(field: str, value: object) -> bool:
    kind = typing.get_type_hints(Options, include_extras=True)[field]
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError:
        return True
    return False


@pytest.mark.parametrize("field", ["above", "share", "rate", "most", "below", "free"])
@pytest.mark.parametrize("value", NUMBERS)
def test_numbers_are_refused_as_by_pydantic(field: str, value: float) -> None:
    assert is_refused(Options(**{field: value})) == is_refused_by_pydantic(field, value)


@pytest.mark.parametrize(("field", "value"), [("count", 0), ("count", 1), ("names", ()), ("names", ("a",))])
def test_other_values_are_refused_as_by_pydantic(field: str, value: Any) -> None:
    assert is_refused(Options(**{field: value})) == is_refused_by_pydantic(field, value)


def test_the_words_of_a_bound() -> None:
    assert describe_bounds(Options, "share") == "above 0, at most 1"
    assert describe_bounds(Options, "free") == "" and "free" not in read_bounds(Options)


@pytest.mark.parametrize("name", [name for name, _ in METHODS])
def test_each_number_of_a_method_has_a_bound_and_its_default_is_within(name: str) -> None:
    kind: type[Method] = METHODS.get(name)
    kind().check()
    numbers = {f.name for f in dataclasses.fields(kind) if isinstance(f.default, (int, float))}
    assert numbers <= set(read_bounds(kind))
    for field in numbers:
        with pytest.raises(UserError, match=f"^{field}=-1: allowed: "):
            dataclasses.replace(kind(), **{field: -1}).check()
