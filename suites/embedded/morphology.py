"""Inflected forms of the generated texts' words: verbs and plurals."""

from __future__ import annotations

# Verbs that double their last consonant: dragged, dropped.
DOUBLED = ("drag", "drop", "tap", "grab", "scrub")


def form_third_person(base: str) -> str:
    """Third person singular of a verb."""
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ies"
    return base + ("es" if base.endswith(("sh", "ch", "x")) else "s")


def form_participle(base: str) -> str:
    """Past participle of a verb."""
    if base.endswith("e"):
        return base + "d"
    if base.endswith("y") and base[-2] not in "aeiou":
        return base[:-1] + "ied"
    return base + (base[-1] if base in DOUBLED else "") + "ed"


def form_plural(noun: str) -> str:
    """Plural of a noun."""
    if noun == "loaf":
        return "loaves"
    return noun + ("es" if noun.endswith(("ch", "sh")) else "s")
