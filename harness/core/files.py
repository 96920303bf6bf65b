"""Files that are read back later: written whole or not at all, with a digest that shows any damage.

A JSON file ends with the digest of all that stands before it, white space apart. In a record, whose results repeat bit
by bit from run to run while its times do not, it is a member of the last field, with all else that need not repeat:

    { "key": ..., "order": ..., "sha256": "9f86d0..." }            a profile, run.json, ...
    { "key": ..., "scores": ..., "extra": {"sha256": "9f86d0..."}} a record
    |<-------- hashed -------->|

Files of earlier versions have no digest and are read as they are.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from harness.core.errors import UserError

WHITE_SPACE = b" \t\r\n"
MAX_DIGEST_BYTES = 400
"""Bytes from the end in which the digest stands, however the file is laid out."""
HEXADECIMAL = re.compile(rb"[0-9a-f]{64}")


def _read_umask() -> int:
    """It can only be read by setting it."""
    os.umask(mask := os.umask(0))
    return mask


UMASK = _read_umask()

# ---------------------------------------------------------------- writing


def replace_file(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write all of a file or none of it; `content` may write it itself. Raises OSError.

    Each call has a temporary file of its own, so several processes may write one path at once.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as stream:
        try:
            stream.write(content) if isinstance(content, bytes) else content(stream)
            stream.flush()
            os.fchmod(stream.fileno(), 0o666 & ~UMASK)  # a temporary file is its owner's alone
            os.fsync(stream.fileno())
            os.replace(stream.name, path)
        except BaseException:
            Path(stream.name).unlink(missing_ok=True)
            raise


def write_atomically(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """`replace_file` for a run's folder. Raises UserError for a full or forbidden disk."""
    try:
        replace_file(path, content)
    except OSError as error:
        raise UserError(
            f"cannot write {escape_path(path)}: {describe_os_error(error)}; what is stored is kept, the same "
            "command resumes"
        ) from error


def check_writable(folder: Path) -> None:
    """Raise OSError where no file can be made in a folder."""
    with tempfile.TemporaryFile(dir=folder):
        pass


def describe_os_error(error: Exception) -> str:
    """The system's reason in a few words; that of a SafetensorError stands in its text only."""
    if getattr(error, "errno", None) == errno.ENOSPC or f"(os error {errno.ENOSPC})" in str(error):
        return "the disk is full"
    return getattr(error, "strerror", None) or str(error)


# ---------------------------------------------------------------- reading


def check_regular(path: Path) -> None:
    """Raise OSError for what is no regular file: reading a named pipe would wait forever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file")


def read_bytes(path: Path) -> bytes:
    """The content of a regular file. Raises OSError."""
    with open(path, "rb", buffering=0, opener=_open_nonblocking) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return stream.read()


def _open_nonblocking(path: str, flags: int) -> int:
    """A named pipe would wait for its writer."""
    return os.open(path, flags | os.O_NONBLOCK)


def hash_file(path: Path) -> str:
    """sha256 of a regular file, read in blocks. Raises OSError."""
    check_regular(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_files(folder: Path, suffix: str) -> list[Path]:
    """Entries with that ending, by name and whatever they are; none where there is no folder.

    Raises UserError for a folder that is there and cannot be read: it is not an empty one.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not folder.is_symlink():
            return []
        raise UserError(
            f"cannot read {escape_path(folder)}: {describe_os_error(error)}; make it a folder that you can read"
        ) from error
    return [folder / name for name in sorted(names) if name.endswith(suffix) and not name.startswith(".")]


def escape_path(path: Path) -> str:
    """A path for messages: control characters and bytes that are not UTF-8 as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(path))


# ---------------------------------------------------------------- the digest in a JSON file


def append_digest(text: bytes, depth: int = 1) -> bytes:
    """A JSON object with the digest of its content as the last member; `depth` 2: of the object that is its last."""
    body = text
    for _ in range(depth):
        body = body.rstrip().removesuffix(b"}")
    body = body.rstrip()
    comma = b"" if body.endswith(b"{") else b","
    return b'%s%s\n "sha256": "%s"\n%s\n' % (body, comma, _hash_body(body), b"}" * depth)


def verify_digest(content: bytes, depth: int = 1) -> bool:
    """Whether a JSON object has a digest where `seal` puts it. Raises ValueError for that of another content."""
    end = rb',?\s*"([^"]*)"\s*:\s*"([^"]*)"' + rb"\s*}" * depth + rb"\s*\Z"
    last = re.search(end, content[-MAX_DIGEST_BYTES:])
    if last is None or (last[1] != b"sha256" and not HEXADECIMAL.fullmatch(last[2])):
        return False
    body = content[: len(content) - len(last[0])]
    if last[1] != b"sha256" or last[2] != _hash_body(body):
        raise ValueError("its content does not match its sha256")
    return True


def _hash_body(body: bytes) -> bytes:
    return hashlib.sha256(body.translate(None, WHITE_SPACE)).hexdigest().encode()
