"""Write an fp16 copy (45 MB) of all-MiniLM-L6-v2: `python scripts/minilm_fp16.py OUT [--source FOLDER]`.

The source is the PyPI package's folder, checked by hash; repeated runs write the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from harness.core.presets import get_preset
from harness.models.source import resolve

COPIED = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


def copy_as_fp16(source: Path, out: Path) -> str:
    """Convert every float32 tensor, copy config and tokenizer; returns the sha256 of the new weights."""
    out.mkdir(parents=True, exist_ok=True)
    tensors = load_file(source / "model.safetensors")
    # Integer tensors, such as position ids, keep their type.
    halves = {n: t.half() if t.dtype == torch.float32 else t for n, t in tensors.items()}
    save_file(halves, out / "model.safetensors", metadata={"format": "pt"})
    for name in COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)
    return hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", type=Path)
    arguments = parser.parse_args()
    source = arguments.source or resolve(get_preset("small"), "glue", None).path
    print(copy_as_fp16(source, arguments.out))


if __name__ == "__main__":
    main()
