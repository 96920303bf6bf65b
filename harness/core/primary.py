"""The comparisons that a run declares as its question: `--primary "lorasp vs lora, lorasp:rank=8 vs lora"`."""

from __future__ import annotations

import re
from collections.abc import Collection

from harness.core.errors import UserError, shorten

EXAMPLE = 'write e.g. --primary "lorasp vs lora, lorasp vs lora:rank=8"'
DEFAULT_COLLAPSE_MARGIN = 2.0
"""Points above the majority baseline up to which a run counts as collapsed, unless the run declares others."""


def parse_primary(text: str) -> tuple[tuple[str, str], ...]:
    """The declared (method, the one it is compared with) pairs, in order, options sorted as in stored labels.

    Commas separate pairs and options: a piece with `=` and without `:` is an option of the method before it. Raises
    UserError for a malformed text, a method against itself, and a pair that is declared twice.
    """
    sides: list[list[str]] = []
    for piece in (part.strip() for part in text.split(",")):
        is_option = "=" in piece.split(" vs ")[0] and ":" not in piece.split(" vs ")[0]
        methods = [method.strip() for method in re.split(r"\s+vs\s+", piece)]
        if is_option and sides:
            # an option ends the last method of the piece before it, and may be followed by 'vs'
            sides[-1][-1] += f",{methods[0]}"
            sides[-1] += methods[1:]
        else:
            sides.append(methods)
    pairs = []
    for methods in sides:
        if len(methods) != 2 or not all(methods):
            raise UserError(f"--primary '{shorten(', '.join(methods))}' is no comparison of two methods; {EXAMPLE}")
        method, first = (sort_options(name) for name in methods)
        if method == first:
            raise UserError(
                f"--primary '{shorten(method)} vs {shorten(first)}' compares a method with itself; {EXAMPLE}"
            )
        if (method, first) in pairs or (first, method) in pairs:
            raise UserError(f"--primary '{shorten(method)} vs {shorten(first)}' is declared twice; name each pair once")
        pairs.append((method, first))
    return tuple(pairs)


def sort_options(name: str) -> str:
    """A method's label with its options in the order of stored labels: lorasp:rank=8,ratio=0.25."""
    method, colon, options = name.partition(":")
    return f"{method}:{','.join(sorted(option.strip() for option in options.split(',')))}" if colon else name


def check_primary(text: str, names: Collection[str]) -> None:
    """Raise UserError if a declared comparison names a method that is not among `names`."""
    for pair in parse_primary(text):
        for name in pair:
            if name not in names:
                raise build_missing_error(name, names)


def build_missing_error(name: str, names: Collection[str]) -> UserError:
    """The error for a declared method that the run does not have."""
    listed = ", ".join(dict.fromkeys(names)) or "(none)"
    return UserError(f"--primary: this run has no method '{shorten(name)}'; name one of its methods: {listed}")
