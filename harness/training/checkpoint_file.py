"""Files of torch.save that end with their digest, so that a changed byte is noticed.

zip archive by torch.save | DIGEST_MARK | sha256 of the archive, hex
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import IO, Any, cast

from harness.core.files import check_regular

DIGEST_MARK = b"sha256 of all before: "
"""Separates the archive that torch.save writes from its digest, which ends the file."""
BLOCK_BYTES = 2**20
"""Bytes per read when a file is hashed."""


class _HashingStream:
    """A stream that hashes what is written to it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.digest = stream, hashlib.sha256()

    def write(self, content: bytes | memoryview) -> int:
        self.digest.update(content)
        return self.stream.write(content)

    def flush(self) -> None:
        self.stream.flush()


def save_with_digest(content: Any, stream: IO[bytes]) -> None:
    """Write `content` by torch.save and append the digest; a zip archive may be followed by other bytes.

    Raises OSError for a full disk, where torch itself raises a RuntimeError.
    """
    import torch

    hashing_stream = _HashingStream(stream)
    try:
        torch.save(content, cast(IO[bytes], hashing_stream))  # torch asks a stream for write and flush only
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise
    stream.write(DIGEST_MARK + hashing_stream.digest.hexdigest().encode())


def is_intact(path: Path) -> bool:
    """Whether the file ends with the digest of all bytes before. Raises OSError."""
    check_regular(path)
    end = len(DIGEST_MARK) + 64
    with path.open("rb") as stream:
        remaining = max(0, os.fstat(stream.fileno()).st_size - end)
        digest = hashlib.sha256()
        while block := stream.read(min(remaining, BLOCK_BYTES)):
            digest.update(block)
            remaining -= len(block)
        return stream.read() == DIGEST_MARK + digest.hexdigest().encode()
