"""Classify one or two texts, or predict a number, with a new head on the backbone."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.core.method import Example, Task
from harness.core.protocol import Protocol
from harness.data.task_types.base import Losses, ReplicaPredictions, Shape, Split, TaskType
from harness.data.tokens import compute_padded_length, iterate_length_batches, pad_rows
from harness.models.attention import use_attention_kernels


@dataclasses.dataclass
class LabelledRows(Split):
    """ids [n, longest] int32, types the same or None, lengths [n], labels [n] (int64 or float32), cut [n] bool."""

    example_ids: list[str]
    ids: Tensor
    types: Tensor | None
    lengths: np.ndarray
    labels: Tensor
    cut: np.ndarray

    @property
    def device(self) -> torch.device:
        return self.ids.device

    @property
    def references(self) -> np.ndarray:
        return np.asarray(self.labels.cpu().numpy())

    @property
    def is_causal_padded(self) -> bool:
        return True

    def shape(self, rows: np.ndarray) -> Shape:
        return (compute_padded_length(int(self.lengths[rows].max()), self.ids),)

    def gather(self, rows: Tensor, shape: Shape) -> dict[str, Tensor]:
        (n,) = shape
        places = torch.arange(n, device=self.ids.device)
        out = {
            "input_ids": self.ids[:, :n].index_select(0, rows).long(),
            "attention_mask": (places[None, :] < self._length.index_select(0, rows)[:, None]).long(),
        }
        if self.types is not None:
            out["token_type_ids"] = self.types[:, :n].index_select(0, rows).long()
        return out

    def targets(self, rows: Tensor, shape: Shape) -> Tensor:
        return self.labels.index_select(0, rows)

    @functools.cached_property
    def _length(self) -> Tensor:
        return torch.from_numpy(self.lengths).to(self.ids.device)

    def to(self, device: torch.device | str) -> LabelledRows:
        types = None if self.types is None else self.types.to(device)
        return dataclasses.replace(self, ids=self.ids.to(device), types=types, labels=self.labels.to(device))


def tokenise(tokenizer: Any, examples: Sequence[Example], max_length: int, regression: bool) -> LabelledRows:
    """Rows of one or two texts as tokens; beyond `max_length` tokens the longer text is truncated first."""
    # The tokenizer takes columns: all first texts, then all second texts.
    texts: list[list[str]] = []
    for number in range(len(examples[0].texts)):
        texts.append([example.texts[number] for example in examples])
    # Without truncation first, because only lengths before truncation show which rows are cut.
    plain = tokenizer(*texts, truncation=False, padding=False, return_attention_mask=False, verbose=False)
    columns = {name: list(plain[name]) for name in ("input_ids", "token_type_ids") if name in plain}
    cut = np.array([len(row) > max_length for row in columns["input_ids"]])
    if cut.any():
        where = np.flatnonzero(cut)
        again = []
        for column in texts:
            again.append([column[i] for i in where])
        short = tokenizer(*again, truncation=True, max_length=max_length, padding=False, verbose=False)
        for name, rows in columns.items():
            for i, row in zip(where, short[name], strict=True):
                rows[i] = row
    ids, lengths = pad_rows(columns["input_ids"], tokenizer.pad_token_id)
    labels = torch.tensor([e.label for e in examples], dtype=torch.float32 if regression else torch.int64)
    types = pad_rows(columns["token_type_ids"], 0)[0] if "token_type_ids" in columns else None
    return LabelledRows([e.id for e in examples], ids, types, lengths, labels, cut)


def compute_replica_losses(logits: Tensor, labels: Tensor, k: int, smoothing: float = 0.0) -> Tensor:
    """Mean loss per replica [K] from logits [K*B, c] and labels [K*B]: cross-entropy, or squared error for c = 1."""
    # Under autocast logits are bf16, in which a mean over rows loses digits; float64 stays for tests.
    wide = logits if logits.dtype == torch.float64 else logits.float()
    if labels.is_floating_point():
        rows = nn.functional.mse_loss(wide.squeeze(-1), labels.to(wide), reduction="none")
    else:
        rows = nn.functional.cross_entropy(wide, labels, reduction="none", label_smoothing=smoothing)
    return rows.view(k, -1).mean(1)


def predict(model: nn.Module, split: Split, k: int, *, autocast: bool = False) -> np.ndarray:
    """Logits [K, n, outputs] float32, in the order of the split; rows of similar length share a batch."""
    model.eval()
    out: np.ndarray | None = None
    kind = split.device.type
    # Each batch is repeated K times: all replicas score the same rows, in the layout [K*B, ...] of training.
    for rows in iterate_length_batches(split.lengths, k, kind):
        tokens = int(split.lengths[rows].max())
        batch = {name: value.repeat(k, *[1] * (value.dim() - 1)) for name, value in split.batch(rows).items()}
        precision = torch.autocast(kind, torch.bfloat16, enabled=autocast)
        with torch.inference_mode(), precision, use_attention_kernels(split.device, tokens):
            logits = model(**batch).logits.float().cpu().numpy()
        if out is None:
            out = np.empty((k, len(split), logits.shape[-1]), dtype=np.float32)
        out[:, rows] = logits.reshape(k, len(rows), -1)
    assert out is not None
    return out


def extract_predictions(logits: np.ndarray) -> np.ndarray:
    """Class ids [n] int64 from logits [n, c], or the values [n] float64 for c = 1."""
    if logits.shape[-1] == 1:
        return np.asarray(logits[:, 0], dtype=np.float64)
    return np.asarray(logits.argmax(-1), dtype=np.int64)


class Classification(TaskType):
    """Cross-entropy over the task's labels; squared error and no labels for regression."""

    def tokenise(
        self, tokenizer: Any, task: Task, examples: Sequence[Example], protocol: Protocol, *, train: bool
    ) -> LabelledRows:
        return tokenise(tokenizer, examples, protocol.max_length, regression=not task.labels)

    def losses(self, protocol: Protocol) -> Losses:
        return lambda logits, labels, k: compute_replica_losses(logits, labels, k, protocol.label_smoothing)

    def predict(
        self, model: nn.Module, split: Split, k: int, tokenizer: Any, protocol: Protocol, *, autocast: bool
    ) -> list[ReplicaPredictions]:
        targets = split.references.astype(float)
        predictions = []
        for logits in predict(model, split, k, autocast=autocast):
            values = extract_predictions(logits)
            columns = {"target": targets, "prediction": values, "logits": list(logits)}
            predictions.append(ReplicaPredictions(values, columns, finite=bool(np.isfinite(logits).all())))
        return predictions

    def build_synthetic(
        self, task: Task, protocol: Protocol, length: int, vocabulary: int, config: Any = None
    ) -> LabelledRows:
        rows = protocol.batch_size * 4
        rng = np.random.default_rng(0)
        ids = torch.from_numpy(rng.integers(0, vocabulary, (rows, length), dtype=np.int32))
        # BART and T5 pool the end token for classification, and each row must have exactly one.
        if getattr(config, "is_encoder_decoder", False):
            end = int(config.eos_token_id)
            ids[ids == end] = (end + 1) % vocabulary
            ids[:, -1] = end
        labels = rng.integers(0, max(1, task.outputs or 1), rows)
        kind = torch.int64 if task.labels else torch.float32
        lengths = np.full(rows, length, dtype=np.int64)
        names = [str(i) for i in range(rows)]
        return LabelledRows(names, ids, None, lengths, torch.from_numpy(labels).to(kind), np.zeros(rows, bool))


TASK_TYPE = Classification()
