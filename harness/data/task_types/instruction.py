"""Instruction tuning of a causal model, with the loss on the answer's tokens only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.core.method import Example, Task
from harness.core.protocol import Protocol, Template
from harness.data.task_types.answered_rows import AnsweredRows, TokenizedExample, build_packed_rows, build_separate_rows
from harness.data.task_types.base import Losses, ReplicaPredictions, Split, TaskType
from harness.data.task_types.text_rows import IGNORED
from harness.data.task_types.token_losses import TokenLosses, compute_each_loss
from harness.data.tokens import iterate_length_batches

ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
ALPACA = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)
TEMPLATES: Mapping[Template, tuple[str, str, str]] = {
    "alpaca": (ALPACA, ALPACA_INPUT, ""),
    "plain": ("{instruction}\nAnswer:", "{instruction}\n{input}\nAnswer:", " "),
}
"""By name: (prompt without input, prompt with input, text between prompt and answer).

`alpaca` has the two prompts of Stanford Alpaca; `plain` ends as the questions of MMLU do.
"""


def format_prompt(example: Example, template: Template) -> str:
    """The prompt: all text before the answer.

    The texts of a row are: instruction, input (may be empty), system prompt (optional), then earlier questions and
    answers in turn (optional). A system prompt replaces the template's first sentence. Earlier turns come before the
    instruction, in the template's form.
    """
    # Pads to three texts, so rows without input or system prompt unpack too.
    instruction, input_text, system, *turns = [*example.texts, "", ""][: max(3, len(example.texts))]
    bare, full, gap = TEMPLATES[template]
    preamble, question = _split_template(full if input_text else bare)
    earlier = _split_template(bare)[1]
    lead = f"{system}\n\n" if system.strip() else preamble
    pairs = zip(turns[::2], turns[1::2], strict=True)
    before = "".join(
        f"{earlier.format(instruction=earlier_question)}{gap}{answer}\n\n" for earlier_question, answer in pairs
    )
    return f"{lead}{before}{question.format(instruction=instruction, input=input_text)}{gap}"


def _split_template(layout: str) -> tuple[str, str]:
    """(preamble, rest) of a template; the preamble is empty where the template starts with the instruction."""
    preamble, mark, question = layout.partition("### Instruction:")
    return (preamble, mark + question) if mark else ("", layout)


def tokenise_examples(
    tokenizer: Any, examples: Sequence[Example], template: Template, max_length: int
) -> list[TokenizedExample]:
    """Rows of tokens, each with an end-of-text token, truncated on the right at `max_length` tokens."""
    prompts = [format_prompt(e, template) for e in examples]
    texts = [p + str(e.label) for p, e in zip(prompts, examples, strict=True)]
    encoding = tokenizer(texts, return_offsets_mapping=True, return_attention_mask=False, verbose=False)
    end = tokenizer.eos_token_id
    rows = []
    for ids, spans, before in zip(encoding["input_ids"], encoding["offset_mapping"], map(len, prompts), strict=True):
        # A token that ends after the prompt belongs to the answer, even if it starts with the prompt's last space.
        answer = [stop > before for _, stop in spans]
        # Some tokenizers append the end token themselves.
        if end is not None and ids[-1] != end:
            ids, answer = [*ids, end], [*answer, True]
        rows.append(TokenizedExample(ids[:max_length], answer[:max_length], len(ids) > max_length))
    return rows


class Instruction(TaskType):
    """Next-token cross-entropy over the answer; the prediction of a row is the mean loss of its answer."""

    def tokenise(
        self, tokenizer: Any, task: Task, examples: Sequence[Example], protocol: Protocol, *, train: bool
    ) -> AnsweredRows:
        rows = tokenise_examples(tokenizer, examples, protocol.template, protocol.max_length)
        fill = tokenizer.pad_token_id or 0
        names = [e.id for e in examples]
        if train and protocol.packed:
            return build_packed_rows(names, rows, protocol.max_length, fill)
        return build_separate_rows(names, rows, fill)

    def losses(self, protocol: Protocol) -> Losses:
        return TokenLosses(protocol.label_smoothing)

    def predict(
        self, model: nn.Module, split: Split, k: int, tokenizer: Any, protocol: Protocol, *, autocast: bool
    ) -> list[ReplicaPredictions]:
        model.eval()
        mean_losses = np.empty((k, len(split)))
        kind = split.device.type
        for rows in iterate_length_batches(split.lengths, k, kind):
            batch = {name: value.repeat(k, *[1] * (value.dim() - 1)) for name, value in split.batch(rows).items()}
            targets = split.targets(split.place(rows), split.shape(rows)).repeat(k, 1)
            with torch.inference_mode(), torch.autocast(kind, torch.bfloat16, enabled=autocast):
                losses = compute_each_loss(model(**batch).logits, targets)
            means = losses.sum(1) / (targets != IGNORED).sum(1)
            mean_losses[:, rows] = means.view(k, -1).cpu().numpy()
        predictions = []
        for replica_losses in mean_losses:
            finite = bool(np.isfinite(replica_losses).all())
            predictions.append(ReplicaPredictions(replica_losses, {"prediction": replica_losses}, finite=finite))
        return predictions

    def build_synthetic(
        self, task: Task, protocol: Protocol, length: int, vocabulary: int, config: Any = None
    ) -> AnsweredRows:
        rng = np.random.default_rng(0)
        answer = [False] * (length // 2) + [True] * (length - length // 2)
        token_rows = rng.integers(0, vocabulary, (protocol.batch_size * 4, length)).tolist()
        names = [str(i) for i in range(len(token_rows))]
        rows = [TokenizedExample(ids, answer, False) for ids in token_rows]
        return build_packed_rows(names, rows, length, 0) if protocol.packed else build_separate_rows(names, rows, 0)


TASK_TYPE = Instruction()
