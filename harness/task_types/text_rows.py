"""Rows of a language model: a text to read and a text to write, for encoder-decoders and for causal models."""

from __future__ import annotations

import abc
import dataclasses
from typing import Any

import numpy as np
import torch
from torch import Tensor

from harness.task_types.base import Split

IGNORED = -100
"""The target of a position that has no part in the loss."""


class TextRows(Split):
    """`texts` are the references as they were written; `prompts` is what generation starts from."""

    texts: list[str]

    @property
    def references(self) -> np.ndarray:
        return np.array(self.texts, dtype=object)

    @property
    @abc.abstractmethod
    def prompt_lengths(self) -> np.ndarray:
        """Tokens [n] of what is read."""

    @property
    def opening(self) -> dict[str, Any]:
        """Fields of transformers' GenerationConfig that say how a written text starts."""
        return {}

    @abc.abstractmethod
    def prompts(self, rows: np.ndarray) -> dict[str, Tensor]:
        """Model inputs of generation for the given rows [m]."""


@dataclasses.dataclass
class EncoderDecoderRows(TextRows):
    """ids [n, S] of the sources and written [n, T] of the targets, int32, both ending as the tokenizer ends a text.

    The decoder reads `start` and then the target less its last token. `language` is the token that a multilingual model
    must write first, where it has one.
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

    def prompts(self, rows: np.ndarray) -> dict[str, Tensor]:
        ids, mask = _cut_to_longest(self.ids, self.lengths, rows)
        return {"input_ids": ids, "attention_mask": mask.long()}

    def batch(self, rows: np.ndarray) -> dict[str, Tensor]:
        written, _ = _cut_to_longest(self.written, self.written_lengths, rows)
        first = written.new_full((len(rows), 1), self.start)
        return {**self.prompts(rows), "decoder_input_ids": torch.cat([first, written[:, :-1]], 1)}

    def targets(self, rows: np.ndarray) -> Tensor:
        written, mask = _cut_to_longest(self.written, self.written_lengths, rows)
        return written.masked_fill(~mask, IGNORED)

    def to(self, device: torch.device | str) -> EncoderDecoderRows:
        return dataclasses.replace(self, ids=self.ids.to(device), written=self.written.to(device))


@dataclasses.dataclass
class CausalRows(TextRows):
    """ids [n, longest] int32: the prompt's tokens, then the target's, padded on the right to train.

    `starts` [n] says where the target begins; only its tokens are in the loss.
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

    def prompts(self, rows: np.ndarray) -> dict[str, Tensor]:
        """Padded on the left, so that what is written follows the last token of each row."""
        ids, mask = _cut_to_longest(self.ids, self.starts, rows)
        gaps = torch.from_numpy(ids.shape[1] - self.starts[rows]).to(ids.device)
        places = torch.arange(ids.shape[1], device=ids.device)[None, :] - gaps[:, None]
        moved = ids.masked_fill(~mask, self.fill).gather(1, places % ids.shape[1])
        return {"input_ids": moved, "attention_mask": (places >= 0).long()}

    def batch(self, rows: np.ndarray) -> dict[str, Tensor]:
        ids, mask = _cut_to_longest(self.ids, self.lengths, rows)
        return {"input_ids": ids, "attention_mask": mask.long()}

    def targets(self, rows: np.ndarray) -> Tensor:
        """At each position the token that follows it."""
        ids, mask = _cut_to_longest(self.ids, self.lengths, rows)
        begin = torch.from_numpy(self.starts[rows]).to(ids.device)[:, None]
        follows = mask & (torch.arange(ids.shape[1], device=ids.device)[None, :] >= begin)
        return ids.masked_fill(~follows, IGNORED).roll(-1, 1).index_fill(1, ids.new_tensor([ids.shape[1] - 1]), IGNORED)

    def to(self, device: torch.device | str) -> CausalRows:
        return dataclasses.replace(self, ids=self.ids.to(device))


def _cut_to_longest(ids: Tensor, lengths: np.ndarray, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """The given rows [m, longest of them] as int64, and where they have tokens."""
    n = int(lengths[rows].max())
    chosen = ids[torch.from_numpy(rows).to(ids.device), :n].long()
    own = torch.from_numpy(lengths[rows]).to(ids.device)
    return chosen, torch.arange(n, device=ids.device)[None, :] < own[:, None]
