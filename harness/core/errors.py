"""The exceptions tree. A UserError is shown as one line and ends with exit code 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_VALUE_LENGTH = 120
"""Characters of a value that a message repeats."""


class HarnessError(Exception):
    """Root of every error this project raises on purpose."""


class UserError(HarnessError):
    """Something the user can put right: says what was given, what is allowed, what to do."""


class NotApplicable(UserError):
    """A combination that cannot be. Refused where named alone, dropped and listed where a product made it."""


class Absent(UserError):
    """Rows that are not there: their task is left out while others run. What is there and does not read is refused."""


class CellFailed(HarnessError):
    """One cell cannot give a score (a loss that is not finite, say); it becomes a failed record."""


def build_unknown_error(kind: str, given: str, allowed: Iterable[str]) -> UserError:
    """The error for a wrong name: nearest name first, then the list."""
    names = sorted(allowed)
    # the comparison takes quadratic time
    nearest = difflib.get_close_matches(given, names, n=1, cutoff=0.5) if len(given) <= MAX_VALUE_LENGTH else []
    hint = f"did you mean '{nearest[0]}'? " if nearest else ""
    return UserError(f"unknown {kind} '{shorten(given)}': {hint}allowed: {', '.join(names) or '(none)'}")


def shorten(value: object) -> str:
    """The value as text for a message, with an ellipsis after LONGEST characters."""
    try:
        text = str(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, or a deeply nested value
        return f"(a very large {type(value).__name__})"
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]}…"


def quote(value: object) -> str:
    """The value as Python writes it, on one line and without control characters, shortened."""
    try:
        return shorten(repr(value))
    except (ValueError, RecursionError):
        return shorten(value)
