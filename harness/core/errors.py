"""The exceptions of this project.

HarnessError
├── UserError            one line on stderr, exit code 2
│   ├── NotApplicable    a combination that cannot be; dropped if a product of options made it
│   └── Absent           rows that do not exist; their task is left out
└── CellFailed           one cell has no score; it becomes a failed record

`failure.py` adds OutOfMemory and CheckpointMismatch, for packs.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_VALUE_LENGTH = 120
"""Most characters of a value that a message repeats."""


class HarnessError(Exception):
    """Base class of every error that this project raises on purpose."""


class UserError(HarnessError):
    """A mistake that the user can correct. The message says what was given, what is allowed and what to do."""


class NotApplicable(UserError):
    """An impossible combination, such as a method on a quantization type that it cannot train on.

    It is an error if the user named it alone; if a product of options made it, it is dropped and listed.
    """


class Absent(UserError):
    """Rows of a task that do not exist: the task is left out. Rows that exist but cannot be read are a UserError."""


class CellFailed(HarnessError):
    """A cell that cannot give a score, for example because of a non-finite loss; it becomes a failed record."""


def build_unknown_error(kind: str, given: str, allowed: Iterable[str]) -> UserError:
    """The error for an unknown name: the nearest allowed name, then all allowed names."""
    names = sorted(allowed)
    # difflib takes quadratic time, which a pasted text of megabytes would show
    nearest = difflib.get_close_matches(given, names, n=1, cutoff=0.5) if len(given) <= MAX_VALUE_LENGTH else []
    hint = f"did you mean '{nearest[0]}'? " if nearest else ""
    return UserError(f"unknown {kind} '{shorten(given)}': {hint}allowed: {', '.join(names) or '(none)'}")


def shorten(value: object) -> str:
    """The value as text for a message: at most `MAX_VALUE_LENGTH` characters, then an ellipsis."""
    try:
        text = str(value)
    except (ValueError, RecursionError):
        # an integer of thousands of digits, or a deeply nested value
        return f"(a very large {type(value).__name__})"
    return text if len(text) <= MAX_VALUE_LENGTH else f"{text[:MAX_VALUE_LENGTH]}…"


def quote(value: object) -> str:
    """The shortened repr of a value: one line without control characters."""
    try:
        return shorten(repr(value))
    except (ValueError, RecursionError):
        return shorten(value)
