"""File names made from names that users, plugins and stored files give."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from harness.core.errors import UserError

MAX_NAME_LENGTH = 120
"""Characters of a file name; the common limit is 255 bytes, and callers add extensions."""
DIGEST_LENGTH = 8


def make_file_names(texts: Iterable[str]) -> dict[str, str]:
    """Text -> one part of a path: ASCII letters, digits and `._=+,@-`, at most LONGEST characters.

    No two of the texts share a name, capitals aside (some file systems fold them): those that would end in a hash.
    """
    texts = list(dict.fromkeys(texts))
    names = {text: _encode_name(text) for text in texts}
    counts = Counter(name.lower() for name in names.values())
    return {text: name if counts[name.lower()] == 1 else _append_hash(text, name) for text, name in names.items()}


def make_file_name(text: str) -> str:
    """The name of one text, as `file_names` gives it."""
    return make_file_names([text])[text]


def _encode_name(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._=+,@-]", "_", text)
    name = re.sub(r"^([.-]|$)", "_", name)
    # a name that looks like one with a hash must not meet it
    if text and len(name) <= MAX_NAME_LENGTH and not re.search(rf"-[0-9a-f]{{{DIGEST_LENGTH}}}$", name):
        return name
    return _append_hash(text, name)


def _append_hash(text: str, name: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_LENGTH]
    return f"{name[: MAX_NAME_LENGTH - DIGEST_LENGTH - 1]}-{digest}"


def join_inside(folder: Path, name: str) -> Path:
    """`folder / name`. Raises UserError where that, links followed, does not lie below the folder."""
    path = folder / name
    try:
        inside = path.parent.resolve().is_relative_to(folder.resolve()) and path.name not in ("", "..")
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise UserError(f"{path}: {error}; give another folder") from error
    if not inside:
        raise UserError(f"{path} lies outside of {folder}; nothing is written there")
    return path
