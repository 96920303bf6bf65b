"""Rows of a task as padded token tensors, with a count of what was cut."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.contracts import Example, Task, TaskData
from harness.record import Truncation


@dataclasses.dataclass
class Split:
    """ids [n, longest] int32, types the same or None, lengths [n], labels [n] (int64 or float32), cut [n] bool."""

    example_ids: list[str]
    ids: Tensor
    types: Tensor | None
    lengths: np.ndarray
    labels: Tensor
    cut: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, rows: np.ndarray) -> dict[str, Tensor]:
        """Model inputs of the given rows [m], padded to the longest of them."""
        n = int(self.lengths[rows].max())
        where = torch.from_numpy(rows).to(self.ids.device)
        lengths = torch.from_numpy(self.lengths[rows]).to(self.ids.device)
        out = {
            "input_ids": self.ids[where, :n].long(),
            "attention_mask": (torch.arange(n, device=self.ids.device)[None, :] < lengths[:, None]).long(),
        }
        if self.types is not None:
            out["token_type_ids"] = self.types[where, :n].long()
        return out

    def to(self, device: torch.device | str) -> Split:
        types = None if self.types is None else self.types.to(device)
        return dataclasses.replace(self, ids=self.ids.to(device), types=types, labels=self.labels.to(device))


def tokenise(tokenizer: Any, examples: Sequence[Example], max_length: int, regression: bool) -> Split:
    """Tokenise one or two texts a row, cutting the longest first beyond `max_length` tokens."""
    texts = [[e.texts[i] for e in examples] for i in range(len(examples[0].texts))]
    plain = tokenizer(*texts, truncation=False, padding=False, return_attention_mask=False, verbose=False)
    columns = {name: list(plain[name]) for name in ("input_ids", "token_type_ids") if name in plain}
    cut = np.array([len(row) > max_length for row in columns["input_ids"]])
    if cut.any():
        where = np.flatnonzero(cut)
        again = [[column[i] for i in where] for column in texts]
        short = tokenizer(*again, truncation=True, max_length=max_length, padding=False, verbose=False)
        for name, rows in columns.items():
            for i, row in zip(where, short[name], strict=True):
                rows[i] = row
    lengths = np.array([len(row) for row in columns["input_ids"]], dtype=np.int64)
    labels = torch.tensor([e.label for e in examples], dtype=torch.float32 if regression else torch.int64)
    types = _padded(columns["token_type_ids"], lengths, 0) if "token_type_ids" in columns else None
    ids = _padded(columns["input_ids"], lengths, tokenizer.pad_token_id)
    return Split([e.id for e in examples], ids, types, lengths, labels, cut)


def _padded(rows: Sequence[Sequence[int]], lengths: np.ndarray, fill: int) -> Tensor:
    out = np.full((len(rows), int(lengths.max())), fill, dtype=np.int32)
    out[np.arange(out.shape[1])[None, :] < lengths[:, None]] = np.concatenate([np.asarray(r) for r in rows])
    return torch.from_numpy(out)


def chosen_rows(examples: Sequence[Example], rows: int | None, split: str) -> Sequence[Example]:
    """All, or for train the first `rows` of a fixed shuffle (the same for each seed), for others the first `rows`."""
    if rows is None or rows >= len(examples):
        return examples
    if split != "train":
        return examples[:rows]
    order = np.random.default_rng(0).permutation(len(examples))[:rows]
    return [examples[i] for i in order]


@dataclasses.dataclass
class Inputs:
    """All splits of a task as one model reads them."""

    splits: Mapping[str, Split]
    truncation: Truncation

    @property
    def rows(self) -> dict[str, int]:
        return {name: len(split) for name, split in self.splits.items()}


def read_inputs(
    tokenizer: Any, task: Task, data: TaskData, max_length: int, train_rows: int | None, eval_rows: int | None
) -> Inputs:
    """Tokenise the train split and each eval split of a task."""
    splits = {}
    for name in ("train", *task.eval_splits):
        rows = chosen_rows(data.splits[name], train_rows if name == "train" else eval_rows, name)
        splits[name] = tokenise(tokenizer, rows, max_length, regression=not task.labels)
    cut = {name: int(split.cut.sum()) for name, split in splits.items()}
    return Inputs(splits, Truncation(rows=cut, total={name: len(split) for name, split in splits.items()}))
