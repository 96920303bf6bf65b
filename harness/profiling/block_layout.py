"""Whether the blocks of a model with an attached method are alike: the same layers, and the same trained leaves."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from torch import nn

from harness.training.recompute import find_blocks
from harness.training.trainer import Trainer

Layout = tuple[tuple[Any, ...], ...]
"""The tensors of a block, or of all that is outside of blocks: (kind, name within, shape, ...), sorted."""


def read_block_paths(model: nn.Module) -> list[str] | None:
    """The paths of all blocks if they are the elements of one list, from 0 on; else None."""
    blocks = {id(block) for block in find_blocks(model)}
    paths = [path for path, module in model.named_modules() if id(module) in blocks]
    heads = {path.rpartition(".")[0] for path in paths}
    names = [path.rpartition(".")[2] for path in paths]
    return paths if len(heads) == 1 and names == [str(i) for i in range(len(paths))] else None


def read_layouts(trainer: Trainer) -> tuple[Layout, Layout] | None:
    """The layout that all blocks have and that of the remaining tensors; None where blocks differ.

    It covers parameters and buffers with their precision and whether they train, modules, and the trained leaves of
    each group with the number of trained entries of each replica.
    """
    paths = read_block_paths(trainer.model)
    if not paths:
        return None
    prefix = paths[0].rpartition(".")[0] + "." if "." in paths[0] else ""
    places: dict[str, list[tuple[Any, ...]]] = defaultdict(list)

    def add(kind: str, path: str, *facts: Any) -> None:
        place, inner = _split_path(path, prefix)
        places[place].append((kind, inner, *map(repr, facts)))

    for path, module in trainer.model.named_modules():
        add("module", path, type(module))
    for path, tensor in trainer.model.named_parameters():
        add("parameter", path, tuple(tensor.shape), tensor.dtype, tensor.requires_grad)
    for path, buffer in trainer.model.named_buffers():
        add("buffer", path, tuple(buffer.shape), buffer.dtype)
    for group in trainer.attached.groups:
        for leaf in group.leaves.values():
            counts = [group.count_leaf(leaf, replica) for replica in range(len(group.counts))]
            add(f"leaf of {group.name}", leaf.name, leaf.shape, counts, leaf.stop <= group.decayed)
    others = tuple(sorted(places.pop("", [])))
    layouts = [tuple(sorted(layout)) for layout in places.values()]
    return (layouts[0], others) if len(layouts) == len(paths) and len(set(layouts)) == 1 else None


def _split_path(path: str, prefix: str) -> tuple[str, str]:
    """(the number of the block that a path lies in, the path within it); "" outside of blocks."""
    number, _, inner = path.removeprefix(prefix).partition(".")
    inside = path.startswith(prefix) and number.isdigit()
    return (number, inner) if inside else ("", path)
