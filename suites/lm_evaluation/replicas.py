"""K replicas of one backbone as a model of lm-eval; each forward pass computes all of them.

input_ids [B, n] -> repeat -> [K*B, n] -> logits [K, B, kept positions, v]
"""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM
from torch import Tensor, nn

from harness.data.tokens import iterate_length_batches

Request = tuple[tuple[str, str], list[int], list[int]]
"""(context, continuation), and the tokens of both."""
Answers = list[tuple[float, bool]]


class ReplicaLM(HFLM):  # type: ignore[misc]
    """K replicas; `replica` is the index of the one whose answers the next evaluation gets.

    The first evaluation computes the answers of all replicas; later ones get theirs from memory if their requests are
    the same. `truncated` counts prompts longer than the model's context, which lm-eval truncates on the left.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, k: int, *, autocast: bool) -> None:
        # float32, because in bfloat16 the log-likelihoods of choices would tie.
        precision = torch.bfloat16 if autocast else None
        super().__init__(
            model, tokenizer=tokenizer, batch_size=1, softmax_dtype="float32", mixed_precision_dtype=precision
        )
        self.k, self.replica, self.truncated = k, 0, 0
        self._asked: list[tuple[str, str]] = []
        self._answers: list[Answers] = []
        self._logits: Tensor | None = None
        self._keep, self._now = 0, 0
        # Most of a forward pass's memory is logits [B, n, vocabulary]; lm-eval reads only those of the continuation.
        self._trims = "logits_to_keep" in inspect.signature(model.forward).parameters

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> Answers:
        """(log-likelihood, is greedy) of each request, by the current replica."""
        arguments = [request.args for request in requests]
        if arguments != self._asked:
            self._answers = []
            self._asked = arguments
            super().loglikelihood(requests, disable_tqdm=True)
        return self._answers[self.replica]

    def _loglikelihood_tokens(self, requests: list[Request], **kwargs: Any) -> Answers:
        """Compute and store the answers of all replicas, in length-bucketed batches; returns the first replica's."""
        rows: dict[tuple[int, ...], list[int]] = {}
        for i, (_, context, continuation) in enumerate(requests):
            rows.setdefault((*context, *continuation[:-1]), []).append(i)
        # The four choices of a question differ in the last token only, so that they share a row.
        lengths = np.array([min(len(tokens), self.max_length) for tokens in rows])
        self.truncated = sum(len(tokens) > self.max_length for tokens in rows)
        grouped = list(rows.values())
        answers = [[(float("nan"), False)] * len(requests) for _ in range(self.k)]
        for batch in iterate_length_batches(lengths, self.k, self.device.type):
            places = list(itertools.chain.from_iterable(grouped[row] for row in batch))
            shortest, longest = int(lengths[batch].min()), int(lengths[batch].max())
            # Rows are padded on the right, so the shortest row's continuation ends `longest - shortest` before the end.
            self._keep = longest - shortest + max(len(requests[i][2]) for i in places)
            for replica, batch_answers in enumerate(self._answer_batch([requests[i] for i in places], len(batch))):
                for i, answer in zip(places, batch_answers, strict=True):
                    answers[replica][i] = answer
        self._answers = answers
        return answers[0]

    def _answer_batch(self, requests: list[Request], rows: int) -> list[Answers]:
        """lm-eval's own answers, replica by replica, from one forward pass."""
        self.batch_size_per_gpu = rows
        self._logits = None
        answers = []
        for replica in range(self.k):
            self._now = replica
            answers.append(super()._loglikelihood_tokens(requests, disable_tqdm=True))
        self._logits = None
        return answers

    def _model_call(self, inps: Tensor, attn_mask: Tensor | None = None, labels: Tensor | None = None) -> Tensor:
        """Logits [B, at most n, v] of one replica; only the last positions if the model can select them."""
        if self._logits is None:
            with (
                torch.inference_mode(),
                torch.autocast(
                    self.device.type, self.mixed_precision_dtype, enabled=self.mixed_precision_dtype is not None
                ),
            ):
                options = {"logits_to_keep": min(self._keep, inps.shape[1])} if self._trims else {}
                logits = self.model(inps.repeat(self.k, 1), **options).logits
            self._logits = logits.view(self.k, len(inps), *logits.shape[1:])
        return self._logits[self._now]
