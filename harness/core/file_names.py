"""Safe file names from names of users, plugins and stored files, which may hold any character."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from harness.core.errors import UserError

MAX_NAME_LENGTH = 120
"""Most characters of a file name: the common limit is 255 bytes, and callers add extensions."""
DIGEST_LENGTH = 8
"""Hex digits of the hash that makes a name unique."""


def make_file_names(texts: Iterable[str]) -> dict[str, str]:
    """Text -> file name: ASCII letters, digits and `._=+,@-`, at most `MAX_NAME_LENGTH` characters.

    Different texts get different names, upper and lower case not distinguished; where two would be equal, a hash is
    appended to both.
    """
    texts = list(dict.fromkeys(texts))
    names = {text: _encode_name(text) for text in texts}
    # some file systems do not distinguish case
    counts = Counter(name.lower() for name in names.values())
    return {text: name if counts[name.lower()] == 1 else _append_hash(text, name) for text, name in names.items()}


def make_file_name(text: str) -> str:
    """The file name of one text (see `make_file_names`)."""
    return make_file_names([text])[text]


def _encode_name(text: str) -> str:
    name = re.sub(r"[^A-Za-z0-9._=+,@-]", "_", text)
    # a leading dot would hide the file, a leading dash would look like a flag
    name = re.sub(r"^([.-]|$)", "_", name)
    # a text that already ends like a hash gets one too, or it could equal the hashed name of another text
    if text and len(name) <= MAX_NAME_LENGTH and not re.search(rf"-[0-9a-f]{{{DIGEST_LENGTH}}}$", name):
        return name
    return _append_hash(text, name)


def _append_hash(text: str, name: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:DIGEST_LENGTH]
    return f"{name[: MAX_NAME_LENGTH - DIGEST_LENGTH - 1]}-{digest}"


def join_inside(folder: Path, name: str) -> Path:
    """`folder / name`. Raises UserError if that path is outside the folder, symbolic links followed."""
    path = folder / name
    try:
        inside = path.parent.resolve().is_relative_to(folder.resolve()) and path.name not in ("", "..")
    except (OSError, ValueError, RuntimeError) as error:
        # RuntimeError: a loop of symbolic links
        raise UserError(f"{path}: {error}; give another folder") from error
    if not inside:
        raise UserError(f"{path} is outside of {folder}; nothing is written there")
    return path
