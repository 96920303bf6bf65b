"""Token rows of prompts and answers, one example a row or several packed into one without seeing each other."""

from __future__ import annotations

import bisect
import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.core.errors import UserError
from harness.data.task_types.base import Shape, Split
from harness.data.task_types.text_rows import IGNORED
from harness.data.tokens import padded, padded_length


class Answered(NamedTuple):
    """One example: its tokens, which of them are the answer's, and whether it was longer than allowed."""

    ids: list[int]
    answer: list[bool]
    cut: bool

    @property
    def learnable(self) -> bool:
        """Whether an answer's token is left that has one before it."""
        return any(self.answer[1:])


@dataclasses.dataclass
class AnsweredRows(Split):
    """ids [n, longest] int32; answer [n, longest] bool; lengths [n]; cut [examples].

    segments [n, longest] int32 numbers the examples within a row, -1 in the padding; None: each row is one example.
    """

    example_ids: list[str]
    ids: Tensor
    answer: Tensor
    segments: Tensor | None
    lengths: np.ndarray
    cut: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def device(self) -> torch.device:
        return self.ids.device

    @property
    def references(self) -> np.ndarray:
        return np.asarray(self.answer.sum(1).cpu().numpy())

    def shape(self, rows: np.ndarray) -> Shape:
        return (padded_length(int(self.lengths[rows].max()), self.ids),)

    def gather(self, rows: Tensor, shape: Shape) -> dict[str, Tensor]:
        (n,) = shape
        ids = self.ids[:, :n].index_select(0, rows).long()
        if self.segments is not None:
            return {"input_ids": ids, **apart(self.segments[:, :n].index_select(0, rows))}
        lengths = self._length.index_select(0, rows)
        return {"input_ids": ids, "attention_mask": (torch.arange(n, device=ids.device) < lengths[:, None]).long()}

    def targets(self, rows: Tensor, shape: Shape) -> Tensor:
        """The next token [m, n] int64 where it is an answer's, else -100."""
        (n,) = shape
        ids, answer = (t[:, :n].index_select(0, rows) for t in (self.ids, self.answer))
        follows = torch.where(answer[:, 1:], ids[:, 1:].long(), IGNORED)
        return torch.cat([follows, follows.new_full((len(follows), 1), IGNORED)], 1)

    @functools.cached_property
    def _length(self) -> Tensor:
        return self.place(self.lengths)

    def to(self, device: torch.device | str) -> AnsweredRows:
        segments = None if self.segments is None else self.segments.to(device)
        return dataclasses.replace(self, ids=self.ids.to(device), answer=self.answer.to(device), segments=segments)


def apart(segments: Tensor) -> dict[str, Tensor]:
    """Positions that start again and an additive mask [m, 1, n, n], so that no example of a row sees another."""
    n = segments.shape[1]
    order = torch.arange(n, device=segments.device)
    first = torch.ones_like(segments, dtype=torch.bool)
    first[:, 1:] = segments[:, 1:] != segments[:, :-1]
    start = torch.where(first, order, 0).cummax(1).values
    seen = (segments[:, :, None] == segments[:, None, :]) & (order[:, None] >= order)
    # a finite number, as each row of the padding too sees itself; eager attention adds it, sdpa takes it as it is
    mask = torch.zeros(seen.shape, device=segments.device).masked_fill(~seen, torch.finfo(torch.float32).min)
    return {"position_ids": order - start, "attention_mask": mask[:, None]}


def separate(names: Sequence[str], rows: Sequence[Answered], fill: int) -> AnsweredRows:
    """One example a row; one that has no answer left is dropped, which a note tells."""
    kept = _learnable(rows)
    ids, lengths = padded([rows[i].ids for i in kept], fill)
    answer, _ = padded([rows[i].answer for i in kept], 0)
    cut = np.array([rows[i].cut for i in kept])
    return AnsweredRows(
        [names[i] for i in kept], ids, answer.bool(), None, lengths, cut, _dropped(len(rows), len(kept))
    )


def packed(names: Sequence[str], rows: Sequence[Answered], room: int, fill: int) -> AnsweredRows:
    """Several examples a row, `room` tokens at most; the same rows whatever the seed."""
    kept = [rows[i] for i in _learnable(rows)]
    made = [[kept[i] for i in row] for row in fitted([len(row.ids) for row in kept], room)]
    ids, lengths = padded([[token for e in row for token in e.ids] for row in made], fill)
    # an example's first token has none of its own before it
    answer, _ = padded([[own and i > 0 for e in row for i, own in enumerate(e.answer)] for row in made], 0)
    segments, _ = padded([[number for number, e in enumerate(row) for _ in e.ids] for row in made], -1)
    note = f"packed: {len(kept)} training examples in {len(made)} rows of {room} tokens at most"
    names = [f"packed/{i}" for i in range(len(made))]
    cut = np.array([row.cut for row in kept])
    return AnsweredRows(names, ids, answer.bool(), segments, lengths, cut, (*_dropped(len(rows), len(kept)), note))


def fitted(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Examples by row: in their order, each into the fullest row that has room for it (best fit)."""
    rows: list[list[int]] = []
    free: list[tuple[int, int]] = []  # (room left, row), ascending
    for i, length in enumerate(lengths):
        place = bisect.bisect_left(free, (length, -1))
        left, row = free.pop(place) if place < len(free) else (room, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(i)
        if left > length:
            bisect.insort(free, (left - length, row))
    return rows


def _learnable(rows: Sequence[Answered]) -> list[int]:
    """Those with an answer. Raises UserError where there is none."""
    kept = [i for i, row in enumerate(rows) if row.learnable]
    if not kept:
        raise UserError("no row has a token of its answer within max_length; give a larger --max-length")
    return kept


def _dropped(given: int, kept: int) -> tuple[str, ...]:
    lost = given - kept
    return (f"dropped: {lost} row{'s' * (lost > 1)} whose prompt alone is as long as max_length",) if lost else ()
