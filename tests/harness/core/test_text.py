"""Bytes as text, and text as bytes."""

from __future__ import annotations

import re

import pytest

from harness.core.text import format_bytes

UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


@pytest.mark.parametrize("count", [1, 512, 1023, 1024, 24_576, 2**20 - 1, 2**20, 3 * 2**29, 7 * 2**30, 2**43, -(2**21)])
def test_the_text_reads_back_as_the_bytes(count: int) -> None:
    number, unit = re.fullmatch(r"(-?[\d.]+) (\w+)", format_bytes(count)).groups()  # type: ignore[union-attr]
    assert float(number) * UNITS[unit] == pytest.approx(count, rel=0.01)
    assert abs(count) >= UNITS[unit]


def test_nothing_and_zero() -> None:
    assert (format_bytes(None), format_bytes(0)) == ("", "0 B")
