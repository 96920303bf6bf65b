"""Single values of data files: which are missing, which are numbers."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

MISSING = frozenset(
    [
        *("", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "1.#IND", "1.#QNAN", "<NA>", "N/A", "n/a", "NA"),
        *("-NaN", "-nan", "NaN", "nan", "NAN", "Nan", "NULL", "null", "None"),
    ]
)
"""Spellings of a missing label: those of pandas, and more of nan."""

NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
# Digits in groups, which may be one number or several: 1,000 or 1 000.
SEPARATED = re.compile(r"[+-]?\d+(?:[,_'\u2019\u00a0\u202f ]\d+)+(?:\.\d+)?", re.ASCII)
BOOLEANS = {"true": Decimal(1), "false": Decimal(0)}


def parse_number(written: str) -> Decimal | None:
    """The number, exact, so that 1, 1.0 and 1e0 are one; None for other text.

    Stricter than float(), which also takes 1_000, nan, inf and digits of other scripts.
    """
    try:
        return Decimal(written) if NUMBER.fullmatch(written) else None
    except InvalidOperation:
        # The exponent has 20 digits or more.
        return None


def format_number(value: Decimal) -> str:
    """The shortest name of a number: 1 for 1.0, 0.5 for 0.50."""
    if value == value.to_integral_value() and abs(value) < 10**15:
        return str(int(value))
    return str(value.normalize())
