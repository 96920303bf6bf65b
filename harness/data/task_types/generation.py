"""Generate texts with K replicas of a language model in one batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from harness.core.protocol import Protocol
from harness.data.task_types.text_rows import TextRows
from harness.data.tokens import iterate_length_batches
from harness.models.load import suppress_warnings

PROBED = 4
"""Number of rows whose logits show whether a replica has diverged."""


def generate_texts(
    model: nn.Module, split: TextRows, k: int, tokenizer: Any, protocol: Protocol, *, autocast: bool
) -> list[list[str]]:
    """The text that each of K replicas generates for each row, in the order of the split, each on one line.

    Rows of a replica are adjacent. Beam search keeps this, because transformers repeats each row in its place.
    """
    model.eval()
    config = _build_generation_config(split, tokenizer, protocol)
    replica_texts = [[""] * len(split) for _ in range(k)]
    kind = split.device.type
    for rows in iterate_length_batches(split.prompt_lengths + protocol.max_target_length, k * protocol.beams, kind):
        prompts = {name: value.repeat(k, 1) for name, value in split.build_prompts(rows).items()}
        # transformers warns of every length limit that the model's own configuration also sets.
        with suppress_warnings(), torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=autocast):
            ids = model.generate(**prompts, generation_config=config)  # type: ignore[operator]
        # A causal model returns the prompt before the generated tokens; an encoder-decoder does not.
        if not split.opening:
            ids = ids[:, prompts["input_ids"].shape[1] :]
        texts = tokenizer.batch_decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        for place, text in enumerate(texts):
            # Rows of replica 0 come first, then those of replica 1, as the batch was repeated.
            replica, row = divmod(place, len(rows))
            replica_texts[replica][rows[row]] = " ".join(text.split())
    return replica_texts


def _build_generation_config(split: TextRows, tokenizer: Any, protocol: Protocol) -> Any:
    """Greedy or beam search without sampling; other settings are those of the model's own generation_config."""
    from transformers import GenerationConfig

    eos = tokenizer.eos_token_id
    return GenerationConfig(
        max_new_tokens=protocol.max_target_length,
        num_beams=protocol.beams,
        do_sample=False,
        use_cache=True,
        eos_token_id=eos,
        pad_token_id=eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        **split.opening,
    )


def has_finite_logits(model: nn.Module, split: TextRows, k: int, *, autocast: bool) -> np.ndarray:
    """Whether each replica's logits of the first rows are finite [K]."""
    model.eval()
    # Generated text does not show NaN logits: argmax over NaN still returns a token.
    rows = np.arange(min(PROBED, len(split)))
    batch = {name: value.repeat(k, 1) for name, value in split.batch(rows).items()}
    with torch.no_grad(), torch.autocast(split.device.type, torch.bfloat16, enabled=autocast):
        logits = model(**batch).logits
    return np.asarray(logits.isfinite().view(k, -1).all(1).cpu().numpy())
