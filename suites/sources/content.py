"""The bytes and the text of a data file: decompressed by content, decoded by byte order mark, else as UTF-8."""

from __future__ import annotations

import bz2
import codecs
import dataclasses
import functools
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Callable, Mapping
from importlib.resources.abc import Traversable
from typing import Any

from harness.core.errors import UserError

COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
"""Extensions of compressed files, after that of the file inside: rows.csv.gz."""
LARGEST = 16 << 30
"""Maximum number of bytes after decompression, so that a small file cannot fill the memory."""
PIECE = 1 << 20
"""Bytes that a decompressor returns at a time."""
DAMAGED = (OSError, EOFError, ValueError, RuntimeError, lzma.LZMAError, zlib.error, zipfile.BadZipFile)
# UTF-32 comes first: its little-endian mark begins with that of UTF-16.
ENCODINGS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "UTF-16"),
)


@dataclasses.dataclass(frozen=True)
class Content:
    """The decompressed bytes of a file; `suffix` is the extension of the file inside, in lower case."""

    name: str
    suffix: str
    data: bytes


def strip_compression(name: str) -> str:
    """The name of a file without the extension of its compression: rows.csv for rows.csv.gz."""
    stem, dot, suffix = name.rpartition(".")
    return stem if dot + suffix.lower() in COMPRESSED else name


def get_suffix(name: str) -> str:
    """The lower-case extension of a file, or of the file inside a compressed one."""
    return "." + strip_compression(name).rpartition(".")[2].lower()


def find_file(folder: Traversable, name: str) -> Traversable | None:
    """The file `name` of a folder, plain or compressed; None if neither exists."""
    candidates = (folder / f"{name}{suffix}" for suffix in ("", *COMPRESSED))
    return next((path for path in candidates if path.is_file()), None)


def read_content(path: Traversable) -> Content:
    """The bytes of a file. Raises UserError for one that cannot be read or decompressed."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"data file '{path}' cannot be read: {error.strerror}; give the path of a file") from error
    suffix = get_suffix(path.name)
    # By content and not by extension: downloads are often renamed.
    for start, unpack in UNPACKERS.items():
        if data.startswith(start):
            try:
                member, data = unpack(data)
            except UserError as error:
                raise UserError(f"{path}: {error}") from error
            except DAMAGED as error:
                raise UserError(
                    f"{path}: the compressed file is damaged or cut short ({error}); copy it again, or unpack it"
                ) from error
            suffix = get_suffix(member) if member else suffix
            break
    # A tar archive has its mark in the header of its first file.
    if data[257:262] == b"ustar":
        raise UserError(f"{path}: a tar archive; unpack it and give the file inside")
    return Content(str(path), suffix, data)


def _read_limited(stream: Any) -> bytes:
    # In pieces, because the readers allocate at once what a single read asks for.
    data = io.BytesIO()
    while piece := stream.read(PIECE):
        data.write(piece)
        if data.tell() > LARGEST:
            raise UserError(f"more than {LARGEST >> 30} GiB after decompression; give a smaller file")
    return data.getvalue()


def _unpack_stream(open_stream: Callable[..., Any], data: bytes) -> tuple[str, bytes]:
    with open_stream(io.BytesIO(data)) as stream:
        return "", _read_limited(stream)


def _unzip(data: bytes) -> tuple[str, bytes]:
    """Name and bytes of the only file in a zip archive; the files that macOS adds are ignored."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]
        if len(names) != 1:
            listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise UserError(f"a zip archive of {len(names)} files ({listed}), expected one; unpack it")
        with archive.open(names[0]) as stream:
            return names[0], _read_limited(stream)


def _unpack_zstd(data: bytes) -> tuple[str, bytes]:
    import pyarrow  # the standard library has no zstd before Python 3.14

    with pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd") as stream:
        return "", _read_limited(stream)


UNPACKERS: Mapping[bytes, Callable[[bytes], tuple[str, bytes]]] = {
    b"\x1f\x8b": functools.partial(_unpack_stream, gzip.open),
    b"BZh": functools.partial(_unpack_stream, bz2.open),
    b"\xfd7zXZ\x00": functools.partial(_unpack_stream, lzma.open),
    b"\x28\xb5\x2f\xfd": _unpack_zstd,
    b"PK\x03\x04": _unzip,
}
"""First bytes of a compressed file -> function that returns name (zip only) and bytes of the file inside."""


def decode_text(name: str, data: bytes) -> str:
    """The text without its byte order mark: UTF-8, or UTF-16 and UTF-32 if the mark says so.

    Other encodings are refused: they cannot be recognized safely, and a wrong guess changes letters silently.
    """
    codec, label = next(((c, label) for mark, c, label in ENCODINGS if data.startswith(mark)), ("utf-8", "UTF-8"))
    try:
        text = data.decode("utf-8-sig" if codec == "utf-8" else codec)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{name} line {line}: expected {label} text, found byte 0x{data[error.start]:02x}; "
            f"save it as UTF-8, e.g. iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"
        ) from error
    if (place := text.find("\0")) >= 0:
        line = text.count("\n", 0, place) + 1
        raise UserError(f"{name} line {line}: found a null byte, expected UTF-8 text; save it as UTF-8 text")
    return text


def split_lines(text: str) -> list[str]:
    r"""Lines without their ends. Only a newline (or \r\n) ends one, unlike in str.splitlines (U+2028, \x0b).

    A text with carriage returns and no newline is split at the carriage returns.
    """
    lines = text.split("\n" if "\n" in text else "\r")
    return [line.rstrip("\r") for line in (lines if lines[-1] else lines[:-1])]
