"""Tokenize all splits of a task for one model, with a cache on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.record import Truncation
from harness.data.row_limit import select_rows
from harness.data.task_types import load_task_type
from harness.data.token_cache import compute_split_key, hash_tokenizer, read_split, write_split
from harness.models.padding import EMBEDDINGS

if TYPE_CHECKING:
    from harness.core.method import Example, Task, TaskData
    from harness.core.protocol import Protocol
    from harness.data.task_types.base import Split


@dataclasses.dataclass
class Inputs:
    """The tokenized splits, the number of truncated rows, and the tokenizer that made them."""

    splits: Mapping[str, Split]
    truncation: Truncation
    tokenizer: Any

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of tokenization beyond truncation, such as dropped or packed rows."""
        return tuple(note for split in self.splits.values() for note in split.notes)

    @property
    def rows(self) -> dict[str, int]:
        return {name: len(split) for name, split in self.splits.items()}


def read_inputs(tokenizer: Any, task: Task, data: TaskData, protocol: Protocol, cache: Path | None = None) -> Inputs:
    """The tokenized train split and eval splits of a task, read from the folder `cache` where they are stored there.

    Raises UserError for a split without rows.
    """
    digest = None if cache is None else hash_tokenizer(tokenizer)
    splits = {}
    for name in ("train", *task.eval_splits):
        train = name == "train"
        rows = select_rows(data.splits[name], protocol.train_rows if train else protocol.eval_rows, name)
        if not rows:
            raise UserError(
                f"{task.name}/{name}: no rows to {'train on' if train else 'score'}; give a file that has some"
            )
        splits[name] = _tokenise_split(tokenizer, digest, task, rows, protocol, cache, train=train)
        # Also for a split from the cache: the key covers the tokenizer, but not the size of the embedding.
        check_embedded(tokenizer, task, name, splits[name])
    cut = {name: int(split.cut.sum()) for name, split in splits.items()}
    total = {name: len(split.cut) for name, split in splits.items()}
    return Inputs(splits, Truncation(rows=cut, total=total), tokenizer)


def _tokenise_split(
    tokenizer: Any,
    digest: str | None,
    task: Task,
    rows: Sequence[Example],
    protocol: Protocol,
    cache: Path | None,
    *,
    train: bool,
) -> Split:
    kind = load_task_type(task.kind)
    if cache is None or digest is None:
        return kind.tokenise(tokenizer, task, rows, protocol, train=train)
    key = compute_split_key(digest, task, rows, protocol, train=train, version=kind.version)
    stored = read_split(cache, key)
    if stored is not None:
        return stored
    tokenised = kind.tokenise(tokenizer, task, rows, protocol, train=train)
    write_split(cache, key, tokenised)
    return tokenised


def check_embedded(tokenizer: Any, task: Task, name: str, split: Split) -> None:
    """Raise UserError where a row has a token without an embedding; `load_tokenizer` checks all but the pad token."""
    rows = getattr(tokenizer, EMBEDDINGS, None)
    # `ids` are inputs of every task type, `written` the targets of encoder-decoders.
    for tensor in (getattr(split, field, None) for field in ("ids", "written")):
        most = -1 if tensor is None or not tensor.numel() else int(tensor.max())
        if rows is not None and most >= rows:
            token = tokenizer.convert_ids_to_tokens(most)
            raise UserError(
                f"{task.name}/{name}: a text has the token '{token}' ({most}), the model {rows:,} embeddings;"
                " remove it from the text, or give a model after resize_token_embeddings"
            )
