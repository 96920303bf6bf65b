"""The loss of a model and of its K replicas on a fixed text that no run trains on: what fine-tuning forgets.

    text ──tokenizer──> windows of at most L tokens, each predicted from its own start on
    before   backbone alone, one forward pass a window
    after    input_ids [B, n] -> repeat -> [K*B, n] -> logits [K, B, n, v] -> loss [K]

Losses are means over all predicted tokens, in nats.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.core.errors import CellFailed
from harness.core.record import Forgetting
from harness.core.suite import ForgettingText
from harness.data.tokens import iterate_length_batches

WINDOW = 256
"""Tokens of a window at most; models with a shorter context have shorter windows."""
MAX_LOGITS = 1 << 28
"""Logits of one forward pass at most, where one window of all replicas allows it: 1 GiB in float32."""
MAX_VOCABULARY = 1 << 18
"""Taken for a model whose configuration does not say its vocabulary."""


class ForgettingLoss:
    """The windows of a text, and the loss of the backbone on them before anything is attached to it."""

    def __init__(self, text: ForgettingText, model: nn.Module, tokenizer: Any, *, autocast: bool) -> None:
        self.text, self.autocast = text, autocast
        # of a multimodal model: that of its language model
        config: Any = model.config.get_text_config()  # type: ignore[operator, union-attr]
        positions = getattr(config, "max_position_embeddings", None) or WINDOW
        self.vocabulary = int(getattr(config, "vocab_size", None) or MAX_VOCABULARY)
        ids = tokenizer(text.text, verbose=False)["input_ids"]
        self.windows = split_windows(ids, min(WINDOW, int(positions)))
        if not self.windows:
            raise CellFailed(f"the forgetting text '{text.name}' has {len(ids)} tokens; give a text of 2 at least")
        unknown = tokenizer.unk_token_id
        self.unknown = 0 if unknown is None else sum(token == unknown for token in ids)
        (self.before,) = self.compute(model, 1)

    @property
    def tokens(self) -> int:
        """Number of predicted tokens."""
        return sum(len(window) - 1 for window in self.windows)

    def compute(self, model: nn.Module, k: int) -> list[float]:
        """The loss of each of the K replicas."""
        model.eval()
        device = next(model.parameters()).device
        lengths = np.array([len(window) for window in self.windows])
        sums = torch.zeros(k, dtype=torch.float64)
        budget = max(1, MAX_LOGITS // self.vocabulary)
        for rows in iterate_length_batches(lengths, k, device.type, budget):
            # windows of one length share a batch, so that none is padded and no mask is needed
            for length in np.unique(lengths[rows]):
                batch = torch.tensor([self.windows[i] for i in rows if lengths[i] == length], device=device)
                sums += self._sum_losses(model, batch, k)
        return (sums / self.tokens).tolist()

    def _sum_losses(self, model: nn.Module, batch: torch.Tensor, k: int) -> torch.Tensor:
        """Sums of the losses [K] of windows [B, n]."""
        # not inference_mode: a model may cache what it computes here, and training reads it with autograd
        with torch.no_grad(), torch.autocast(batch.device.type, torch.bfloat16, enabled=self.autocast):
            logits = model(input_ids=batch.repeat(k, 1)).logits
        targets = batch[:, 1:].flatten()
        sums = []
        # one replica at a time, so that only its logits are widened
        for own_logits in logits.view(k, *batch.shape, -1):
            wide = own_logits[:, :-1].flatten(0, 1)
            wide = wide if wide.dtype == torch.float64 else wide.float()
            losses = nn.functional.cross_entropy(wide, targets, reduction="none")
            sums.append(losses.double().sum().cpu())
        return torch.stack(sums)

    def describe(self, after: float) -> Forgetting:
        """The field of a record for a replica with the loss `after`."""
        digest = hashlib.sha256(self.text.text.encode()).hexdigest()
        return Forgetting(
            text=self.text.name,
            sha256=digest,
            tokens=self.tokens,
            unknown_tokens=self.unknown,
            before=self.before,
            after=after,
        )


def split_windows(ids: list[int], length: int) -> list[list[int]]:
    """Consecutive windows of at most `length` tokens; a last one of one token, which predicts nothing, is left out."""
    windows = [ids[start : start + length] for start in range(0, len(ids), length)]
    return [window for window in windows if len(window) > 1]
