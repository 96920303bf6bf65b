"""Files that are written atomically and read back with a digest that shows damage.

A JSON file ends with the digest of everything before it, white space excluded. In a record the digest is a member of
the last field, `extra`. Scores repeat bit by bit from run to run; `extra` holds what need not repeat:

    { "key": ..., "order": ..., "sha256": "9f86d0..." }            a profile, run.json, ...
    { "key": ..., "scores": ..., "extra": {"sha256": "9f86d0..."}} a record
    |<-------- hashed -------->|

Files of earlier versions have no digest and are read without a check.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from harness.core.errors import UserError

WHITE_SPACE = b" \t\r\n"
MAX_DIGEST_BYTES = 400
"""Bytes at the end of a file that hold the digest in any layout."""
HEXADECIMAL = re.compile(rb"[0-9a-f]{64}")


# ---------------------------------------------------------------- writing


def replace_file(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write a file atomically. Raises OSError.

    `content` is the bytes, or a function that writes them to a stream. Each call uses its own temporary file, so
    several processes may write the same path.
    """
    # not tempfile's: that file is readable by its owner only, the umask decides here as for any other file
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with temporary.open("xb") as stream:
        try:
            stream.write(content) if isinstance(content, bytes) else content(stream)
            stream.flush()
            # before the rename, or a power cut could leave an empty file under the final name
            os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """An empty folder to fill, which appears at `path` when the block ends without an error. Raises OSError.

    Nothing may be at `path` by then except an empty folder.
    """
    # beside its final place, so that os.replace renames within one file system
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as temporary:
        # a temporary folder is open to its owner only; one inside it gets the usual permissions
        whole = Path(temporary) / path.name
        whole.mkdir()
        yield whole
        os.replace(whole, path)


def write_atomically(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write a file of a run's folder atomically. Raises UserError for a disk that is full or not writable."""
    try:
        replace_file(path, content)
    except OSError as error:
        raise UserError(
            f"cannot write {escape_path(path)}: {describe_os_error(error)}; what is stored is kept, the same "
            "command resumes"
        ) from error


def check_writable(folder: Path) -> None:
    """Raise OSError if no file can be written to a folder."""
    # permission bits do not tell about read-only mounts and quotas: only a file does
    with tempfile.TemporaryFile(dir=folder):
        pass


def describe_os_error(error: Exception) -> str:
    """The system's reason in a few words."""
    # a SafetensorError carries the error number in its text only
    if getattr(error, "errno", None) == errno.ENOSPC or f"(os error {errno.ENOSPC})" in str(error):
        return "the disk is full"
    return getattr(error, "strerror", None) or str(error)


# ---------------------------------------------------------------- reading


def check_regular(path: Path) -> None:
    """Raise OSError if a path is not a regular file: reading a named pipe would wait forever."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file")


def read_bytes(path: Path) -> bytes:
    """The content of a regular file. Raises OSError."""
    with open(path, "rb", buffering=0, opener=_open_nonblocking) as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        return stream.read()


def _open_nonblocking(path: str, flags: int) -> int:
    # without O_NONBLOCK, opening a named pipe waits for its writer
    return os.open(path, flags | os.O_NONBLOCK)


def hash_file(path: Path) -> str:
    """The sha256 of a regular file, read in blocks. Raises OSError."""
    check_regular(path)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def list_files(folder: Path, suffix: str) -> list[Path]:
    """The entries of a folder whose names end in `suffix`, of any type, sorted by name; hidden ones excluded.

    Empty if the folder does not exist. Raises UserError for a folder that exists but cannot be read.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        # a broken symbolic link is FileNotFoundError too, but it stands for a folder that has gone missing
        if isinstance(error, FileNotFoundError) and not folder.is_symlink():
            return []
        raise UserError(
            f"cannot read {escape_path(folder)}: {describe_os_error(error)}; make it a folder that you can read"
        ) from error
    return [folder / name for name in sorted(names) if name.endswith(suffix) and not name.startswith(".")]


def escape_path(path: Path) -> str:
    """A path for messages, with control characters and invalid UTF-8 as escapes."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(path))


# ---------------------------------------------------------------- the digest in a JSON file


def append_digest(text: bytes, depth: int = 1) -> bytes:
    """A JSON object with the digest of its content as its last member.

    With `depth` 2 the digest is the last member of the object that is the last member, as in a record.
    """
    body = text
    for _ in range(depth):
        body = body.rstrip().removesuffix(b"}")
    body = body.rstrip()
    comma = b"" if body.endswith(b"{") else b","
    return b'%s%s\n "sha256": "%s"\n%s\n' % (body, comma, _hash_body(body), b"}" * depth)


def verify_digest(content: bytes, depth: int = 1) -> bool:
    """Whether a JSON object ends with a digest (see `append_digest`). Raises ValueError for a wrong digest."""
    # in the last bytes only, from the fourth quote from the end on: files have megabytes, and stores 100,000 of them
    tail = content[-MAX_DIGEST_BYTES:]
    start = len(tail)
    for _ in range(4):
        start = tail.rfind(b'"', 0, max(start, 0))
    end = rb'"([^"]*)"\s*:\s*"([^"]*)"' + rb"\s*}" * depth + rb"\s*"
    last = re.fullmatch(end, tail[start:]) if start >= 0 else None
    if last is None or (last[1] != b"sha256" and not HEXADECIMAL.fullmatch(last[2])):
        return False
    # a 64-digit value under a damaged name is a digest too, and does not match
    body = content[: len(content) - len(last[0])].rstrip().removesuffix(b",")
    if last[1] != b"sha256" or last[2] != _hash_body(body):
        raise ValueError("its content does not match its sha256")
    return True


def _hash_body(body: bytes) -> bytes:
    # white space is left out, so that a file may be laid out anew (json.tool, an editor) without losing its digest
    return hashlib.sha256(body.translate(None, WHITE_SPACE)).hexdigest().encode()
