"""Write the WMT16-shaped data: line-aligned English and Romanian, UTF-8.

Run `python -m scripts.embedded.wmt16.generate --out DIR`; the same seed gives the same bytes. One train sentence in
five has the older cedilla letters (ş, ţ); the dev and test sets have the comma letters.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

from scripts.embedded.wmt16.clauses import draw_statement
from scripts.embedded.wmt16.romanian import insert_cedillas
from scripts.embedded.wmt16.wording import render_statement

SIZES = {"train": 1500, "newsdev2016": 200, "newstest2016": 300}


def draw_splits(seed: int) -> dict[str, list[tuple[str, str]]]:
    """Distinct pairs of each split."""
    rng = random.Random(f"wmt16-{seed}")
    seen_sentences: set[str] = set()
    pairs_by_split: dict[str, list[tuple[str, str]]] = {}
    for split, size in SIZES.items():
        pairs: list[tuple[str, str]] = []
        while len(pairs) < size:
            sentence = draw_statement(rng)
            english, romanian = render_statement(sentence, "en"), render_statement(sentence, "ro")
            # Drawn before the test for duplicates, so that the random stream does not depend on it.
            old = split == "train" and rng.random() < 0.2
            if english not in seen_sentences:
                seen_sentences.add(english)
                pairs.append((english, insert_cedillas(romanian) if old else romanian))
        pairs_by_split[split] = pairs
    return pairs_by_split


def main() -> None:
    """Write all files under DIR/wmt16."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = options.out / "wmt16"
    folder.mkdir(parents=True, exist_ok=True)
    for split, pairs in draw_splits(options.seed).items():
        for side, code in enumerate(("en", "ro")):
            lines = "".join(pair[side] + "\n" for pair in pairs)
            (folder / f"{split}.{code}").write_bytes(lines.encode())


if __name__ == "__main__":
    main()
