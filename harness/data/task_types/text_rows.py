"""Rows of a source text and a target text, for encoder-decoders and for causal models.

encoder-decoder  ids      [source, end, pad]        written [target, end, pad]    decoder: start + written[:-1]
causal           training [prompt, target, end, pad]        generation [pad, prompt]
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.data.task_types.base import Shape, Split
from harness.data.tokens import compute_padded_length
from harness.replicas.linear_loss import IGNORED as IGNORED


class TextRows(Split):
    """Rows to generate from; `texts` are the references in their original form."""

    texts: list[str]

    @property
    def references(self) -> np.ndarray:
        return np.array(self.texts, dtype=object)

    @property
    @abc.abstractmethod
    def prompt_lengths(self) -> np.ndarray:
        """Number of prompt tokens [n] of each row."""

    @property
    def opening(self) -> dict[str, Any]:
        """Fields of transformers' GenerationConfig that determine how a generated text starts."""
        return {}

    @abc.abstractmethod
    def build_prompts(self, rows: np.ndarray) -> dict[str, Tensor]:
        """Model inputs of generation for the given rows [m]."""


@dataclasses.dataclass
class EncoderDecoderRows(TextRows):
    """ids [n, S] of sources and written [n, T] of targets, int32; both end as the tokenizer ends a text.

    The decoder reads `start` and then the target without its last token. `language` is the token that a multilingual
    model has to generate first, or None.
    """

    example_ids: list[str]
    ids: Tensor
    lengths: np.ndarray
    written: Tensor
    written_lengths: np.ndarray
    start: int
    texts: list[str]
    cut: np.ndarray
    language: int | None = None

    @property
    def device(self) -> torch.device:
        return self.ids.device

    @property
    def positions(self) -> int:
        return max(int(self.lengths.max()), int(self.written_lengths.max()))

    @property
    def prompt_lengths(self) -> np.ndarray:
        return self.lengths

    @property
    def opening(self) -> dict[str, Any]:
        more = {} if self.language is None else {"forced_bos_token_id": self.language}
        return {"decoder_start_token_id": self.start, **more}

    def build_prompts(self, rows: np.ndarray) -> dict[str, Tensor]:
        return self._read(self.place(rows), self.shape(rows)[0])

    def shape(self, rows: np.ndarray) -> Shape:
        """(padded length of the sources, padded length of the targets)."""
        source_length, target_length = int(self.lengths[rows].max()), int(self.written_lengths[rows].max())
        return compute_padded_length(source_length, self.ids), compute_padded_length(target_length, self.written)

    def gather(self, rows: Tensor, shape: Shape) -> dict[str, Tensor]:
        # The decoder sees the target shifted right by one token and predicts each token from those before it.
        written = _gather_rows(self.written, rows, shape[1])
        first = written.new_full((len(rows), 1), self.start)
        return {**self._read(rows, shape[0]), "decoder_input_ids": torch.cat([first, written[:, :-1]], 1)}

    def targets(self, rows: Tensor, shape: Shape) -> Tensor:
        used = _build_position_mask(self._target_length, rows, shape[1])
        return _gather_rows(self.written, rows, shape[1]).masked_fill(~used, IGNORED)

    def _read(self, rows: Tensor, n: int) -> dict[str, Tensor]:
        return {
            "input_ids": _gather_rows(self.ids, rows, n),
            "attention_mask": _build_position_mask(self._length, rows, n).long(),
        }

    @functools.cached_property
    def _length(self) -> Tensor:
        return self.place(self.lengths)

    @functools.cached_property
    def _target_length(self) -> Tensor:
        return self.place(self.written_lengths)

    def to(self, device: torch.device | str) -> EncoderDecoderRows:
        return dataclasses.replace(self, ids=self.ids.to(device), written=self.written.to(device))


@dataclasses.dataclass
class CausalRows(TextRows):
    """ids [n, longest] int32: prompt, then target; padded on the right for training.

    `starts` [n] are the positions where targets begin; only their tokens count in the loss.
    """

    example_ids: list[str]
    ids: Tensor
    lengths: np.ndarray
    starts: np.ndarray
    fill: int
    texts: list[str]
    cut: np.ndarray

    @property
    def device(self) -> torch.device:
        return self.ids.device

    @property
    def prompt_lengths(self) -> np.ndarray:
        return self.starts

    @property
    def is_causal_padded(self) -> bool:
        return True

    def build_prompts(self, rows: np.ndarray) -> dict[str, Tensor]:
        """Prompts padded on the left, so that the generated text follows the last token of each row."""
        n, chosen = int(self.starts[rows].max()), self.place(rows)
        ids = _gather_rows(self.ids, chosen, n).masked_fill(~_build_position_mask(self._start, chosen, n), self.fill)
        gaps = n - self._start.index_select(0, chosen)
        # Negative places are padding: `% n` reads them from the end of the row, where `fill` was set.
        places = torch.arange(n, device=ids.device)[None, :] - gaps[:, None]
        return {"input_ids": ids.gather(1, places % n), "attention_mask": (places >= 0).long()}

    def shape(self, rows: np.ndarray) -> Shape:
        return (compute_padded_length(int(self.lengths[rows].max()), self.ids),)

    def gather(self, rows: Tensor, shape: Shape) -> dict[str, Tensor]:
        (n,) = shape
        return {
            "input_ids": _gather_rows(self.ids, rows, n),
            "attention_mask": _build_position_mask(self._length, rows, n).long(),
        }

    def targets(self, rows: Tensor, shape: Shape) -> Tensor:
        """The next token at each position, -100 where it is not a target's."""
        (n,) = shape
        follows = _build_position_mask(self._length, rows, n) & ~_build_position_mask(self._start, rows, n)
        ids = _gather_rows(self.ids, rows, n).masked_fill(~follows, IGNORED)
        return torch.cat([ids[:, 1:], ids.new_full((len(ids), 1), IGNORED)], 1)

    @functools.cached_property
    def _length(self) -> Tensor:
        return self.place(self.lengths)

    @functools.cached_property
    def _start(self) -> Tensor:
        return self.place(self.starts)

    def to(self, device: torch.device | str) -> CausalRows:
        return dataclasses.replace(self, ids=self.ids.to(device))


def _gather_rows(ids: Tensor, rows: Tensor, n: int) -> Tensor:
    """The first n positions of rows [m], as int64 [m, n]."""
    return ids[:, :n].index_select(0, rows).long()


def _build_position_mask(lengths: Tensor, rows: Tensor, n: int) -> Tensor:
    """Boolean [m, n]: whether each of n positions lies within the length of its row."""
    return torch.arange(n, device=lengths.device)[None, :] < lengths.index_select(0, rows)[:, None]
