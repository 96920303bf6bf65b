"""Checks of the texts of a spec: those that no path and no record can hold are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.core.errors import UserError, shorten

PATH_FLAGS = frozenset({"out", "data-dir", "plugin", "model", "init-from"})
"""Flags whose text is a path."""
NAME_BYTES, PATH_BYTES = 255, 4000
"""The usual limits of a file system; a path of 4,096 bytes leaves room for the names that the run adds."""


def check_texts(field: str, value: Any) -> None:
    """Raise UserError for text that no path and no record can hold: NUL, half a character, a name that is too long."""
    for item in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(item, (str, Path)):
            check_text(field, str(item))
            if isinstance(item, Path) or field in PATH_FLAGS:
                check_path(field, str(item))


def check_text(what: str, text: str) -> None:
    """Raise UserError for text with a NUL or with half of a character (bytes that are not UTF-8)."""
    if "\0" in text:
        raise UserError(f"{what}='{shorten(text)}': it holds a NUL character; allowed: text without it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{what}='{shorten(text)}': not UTF-8; give it as UTF-8, or rename the file") from error


def check_path(what: str, text: str) -> None:
    """Raise UserError for a path that no file system takes."""
    longest = max((len(part.encode()) for part in text.split("/")), default=0)
    if longest > NAME_BYTES or len(text.encode()) > PATH_BYTES:
        limit = f"{NAME_BYTES} bytes a name and {PATH_BYTES} a path"
        raise UserError(f"{what}='{shorten(text)}': the path is too long; allowed: {limit}")
