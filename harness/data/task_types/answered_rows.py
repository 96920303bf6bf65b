"""Rows of prompts and answers: one example per row, or several packed into a row with separate attention.

packed row   ids       [prompt answer | prompt answer | pad]
             segments  [0 0 0 0 0 0 0 | 1 1 1 1 1 1 1 | -1 ]
             positions [0 1 2 3 4 5 6 | 0 1 2 3 4 5 6 | 0  ]
"""

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
from harness.data.tokens import compute_padded_length, pad_rows


class TokenizedExample(NamedTuple):
    """One example: its tokens, which of them belong to the answer, and whether it was truncated."""

    ids: list[int]
    answer: list[bool]
    cut: bool

    @property
    def learnable(self) -> bool:
        """Whether an answer token remains that has a token before it to be predicted from."""
        return any(self.answer[1:])


@dataclasses.dataclass
class AnsweredRows(Split):
    """ids [n, longest] int32; answer [n, longest] bool; lengths [n]; cut [examples].

    segments [n, longest] int32 numbers the examples of a row, -1 in padding; None where each row is one example.
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

    @property
    def is_causal_padded(self) -> bool:
        return self.segments is None

    def shape(self, rows: np.ndarray) -> Shape:
        return (compute_padded_length(int(self.lengths[rows].max()), self.ids),)

    def gather(self, rows: Tensor, shape: Shape) -> dict[str, Tensor]:
        (n,) = shape
        ids = self.ids[:, :n].index_select(0, rows).long()
        if self.segments is not None:
            return {"input_ids": ids, **build_packed_inputs(self.segments[:, :n].index_select(0, rows))}
        lengths = self._length.index_select(0, rows)
        return {"input_ids": ids, "attention_mask": (torch.arange(n, device=ids.device) < lengths[:, None]).long()}

    def targets(self, rows: Tensor, shape: Shape) -> Tensor:
        """The next token [m, n] int64 where it belongs to an answer, else -100."""
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


def build_packed_inputs(segments: Tensor) -> dict[str, Tensor]:
    """Positions that restart, and an additive mask [m, 1, n, n], so that no example attends to another."""
    n = segments.shape[1]
    order = torch.arange(n, device=segments.device)
    # A segment starts where the number changes; cummax carries each start's position to the rest of its segment.
    first = torch.ones_like(segments, dtype=torch.bool)
    first[:, 1:] = segments[:, 1:] != segments[:, :-1]
    start = torch.where(first, order, 0).cummax(1).values
    visible = (segments[:, :, None] == segments[:, None, :]) & (order[:, None] >= order)
    # Finite and not -inf: eager attention adds the mask to scores, where -inf could give NaN.
    mask = torch.zeros(visible.shape, device=segments.device).masked_fill(~visible, torch.finfo(torch.float32).min)
    return {"position_ids": order - start, "attention_mask": mask[:, None]}


def build_separate_rows(names: Sequence[str], rows: Sequence[TokenizedExample], fill: int) -> AnsweredRows:
    """One example per row; examples without a remaining answer are dropped, with a note."""
    learnable = _find_learnable(rows)
    ids, lengths = pad_rows([rows[i].ids for i in learnable], fill)
    answer, _ = pad_rows([rows[i].answer for i in learnable], 0)
    cut = np.array([rows[i].cut for i in learnable])
    return AnsweredRows(
        [names[i] for i in learnable],
        ids,
        answer.bool(),
        None,
        lengths,
        cut,
        _describe_dropped(len(rows), len(learnable)),
    )


def build_packed_rows(names: Sequence[str], rows: Sequence[TokenizedExample], room: int, fill: int) -> AnsweredRows:
    """Several examples per row of at most `room` tokens; the rows do not depend on the seed."""
    examples = [rows[i] for i in _find_learnable(rows)]
    id_rows: list[list[int]] = []
    answer_rows: list[list[bool]] = []
    segment_rows: list[list[int]] = []
    for numbers in fit_into_rows([len(example.ids) for example in examples], room):
        id_row: list[int] = []
        answer_row: list[bool] = []
        segment_row: list[int] = []
        for segment, number in enumerate(numbers):
            example = examples[number]
            id_row += example.ids
            # The first token has no token of its own example before it, so nothing predicts it.
            answer_row += [False, *example.answer[1:]]
            segment_row += [segment] * len(example.ids)
        id_rows.append(id_row)
        answer_rows.append(answer_row)
        segment_rows.append(segment_row)
    ids, lengths = pad_rows(id_rows, fill)
    answer, _ = pad_rows(answer_rows, 0)
    segments, _ = pad_rows(segment_rows, -1)
    note = f"packed: {len(examples)} training examples in {len(id_rows)} rows of {room} tokens at most"
    names = [f"packed/{i}" for i in range(len(id_rows))]
    cut = np.array([row.cut for row in examples])
    return AnsweredRows(
        names, ids, answer.bool(), segments, lengths, cut, (*_describe_dropped(len(rows), len(examples)), note)
    )


def fit_into_rows(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Numbers of the examples in each row: each example in turn goes to the fullest row with room (best fit)."""
    rows: list[list[int]] = []
    # Sorted, so that a binary search finds the fullest row with enough room.
    free: list[tuple[int, int]] = []  # (room left, row), ascending
    # Best fit in the order of the data: which examples share a row must not depend on the seed.
    for i, length in enumerate(lengths):
        place = bisect.bisect_left(free, (length, -1))
        left, row = free.pop(place) if place < len(free) else (room, len(rows))
        if row == len(rows):
            rows.append([])
        rows[row].append(i)
        if left > length:
            bisect.insort(free, (left - length, row))
    return rows


def _find_learnable(rows: Sequence[TokenizedExample]) -> list[int]:
    """Numbers of the examples with an answer. Raises UserError where there is none."""
    learnable = [i for i, row in enumerate(rows) if row.learnable]
    if not learnable:
        raise UserError("no row has a token of its answer within max_length; give a larger --max-length")
    return learnable


def _describe_dropped(given: int, kept: int) -> tuple[str, ...]:
    lost = given - kept
    return (f"dropped: {lost} row{'s' * (lost > 1)} whose prompt alone is as long as max_length",) if lost else ()
