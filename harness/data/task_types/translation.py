"""Translate sentences with an encoder-decoder or a causal model; tasks are named SOURCE-TARGET (en-ro)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.core.errors import UserError
from harness.core.method import Example, Task
from harness.core.protocol import Protocol
from harness.data.task_types.base import Losses, ReplicaPredictions, TaskType
from harness.data.task_types.generation import generate_texts, has_finite_logits
from harness.data.task_types.text_rows import CausalRows, EncoderDecoderRows, TextRows
from harness.data.task_types.token_losses import TokenLosses
from harness.data.tokens import pad_rows
from harness.models.load import load_model_config

LANGUAGES = {"en": "English", "ro": "Romanian"}
CODES = {"en": ("en_XX", "eng_Latn"), "ro": ("ro_RO", "ron_Latn")}
"""Language tokens of multilingual tokenizers: of mBART, of NLLB."""


class Translation(TaskType):
    """Cross-entropy of the target's tokens; predictions come from greedy or beam search."""

    def tokenise(
        self, tokenizer: Any, task: Task, examples: Sequence[Example], protocol: Protocol, *, train: bool
    ) -> TextRows:
        config = load_model_config(tokenizer)
        if tokenizer.eos_token_id is None:
            raise UserError("the model's tokenizer has no end-of-text token (eos_token); save it with one")
        _check_positions(config, protocol)
        make = build_encoder_decoder_rows if config.is_encoder_decoder else build_causal_rows
        return make(tokenizer, config, task, examples, protocol, train=train)

    def losses(self, protocol: Protocol) -> Losses:
        return TokenLosses(protocol.label_smoothing)

    def predict(
        self, model: nn.Module, split: Any, k: int, tokenizer: Any, protocol: Protocol, *, autocast: bool
    ) -> list[ReplicaPredictions]:
        fine = has_finite_logits(model, split, k, autocast=autocast)
        texts = generate_texts(model, split, k, tokenizer, protocol, autocast=autocast)
        return [
            ReplicaPredictions(
                np.array(replica_texts, dtype=object),
                {"target": list(split.references), "prediction": replica_texts},
                finite=bool(ok),
            )
            for replica_texts, ok in zip(texts, fine, strict=True)
        ]

    def build_synthetic(
        self, task: Task, protocol: Protocol, length: int, vocabulary: int, config: Any = None
    ) -> TextRows:
        """Sources of `length` tokens and targets of the protocol's maximum length."""
        count, rng = protocol.batch_size * 4, np.random.default_rng(0)
        names, uncut = [str(i) for i in range(count)], np.zeros(count, bool)
        sizes = [np.full(count, n, dtype=np.int64) for n in (length, protocol.max_target_length)]
        source_ids, target_ids = (
            torch.from_numpy(rng.integers(0, vocabulary, (count, int(n[0])), dtype=np.int32)) for n in sizes
        )
        if config is not None and config.is_encoder_decoder:
            return EncoderDecoderRows(names, source_ids, sizes[0], target_ids, sizes[1], 0, names, uncut)
        return CausalRows(names, torch.cat([source_ids, target_ids], 1), sizes[0] + sizes[1], sizes[0], 0, names, uncut)


TASK_TYPE = Translation()


def parse_languages(task: Task) -> tuple[str, str]:
    """Source and target: ("ro", "en") for ro-en."""
    source, _, target = task.name.partition("-")
    return source, target


def build_encoder_decoder_rows(
    tokenizer: Any, config: Any, task: Task, examples: Sequence[Example], protocol: Protocol, *, train: bool
) -> EncoderDecoderRows:
    """Sources and targets, each truncated to its own limit; truncated targets count in the training split only."""
    source, target = parse_languages(task)
    token = _set_languages(tokenizer, source, target)
    prefix = _build_prefix(config, source, target)
    source_rows, long = _tokenise_and_cut(tokenizer, [prefix + e.texts[0] for e in examples], protocol.max_length)
    target_rows, over = _tokenise_and_cut(
        tokenizer, [str(e.label) for e in examples], protocol.max_target_length, target=True
    )
    ids, lengths = pad_rows(source_rows, tokenizer.pad_token_id)
    out, out_lengths = pad_rows(target_rows, tokenizer.pad_token_id)
    texts = [str(e.label) for e in examples]
    # mBART-50 and NLLB write the language before a target, mBART behind it; generation forces only a leading token.
    leads = token if token is not None and target_rows[0][0] == token else None
    cut = long | over if train else long
    start = find_decoder_start(config, target_rows[0])
    return EncoderDecoderRows([e.id for e in examples], ids, lengths, out, out_lengths, start, texts, cut, leads)


def find_decoder_start(config: Any, target: Sequence[int]) -> int:
    """The decoder's first token: for mBART the last token of a target (its language), else from the config."""
    # mBART starts decoding with the token that ends the target, as transformers' shift_tokens_right does.
    if config.model_type == "mbart":
        return int(target[-1])
    if config.decoder_start_token_id is None:
        raise UserError(f"the config.json of the {config.model_type} model has no decoder_start_token_id; add it")
    return int(config.decoder_start_token_id)


def build_causal_rows(
    tokenizer: Any, config: Any, task: Task, examples: Sequence[Example], protocol: Protocol, *, train: bool
) -> CausalRows:
    """Rows of source, separator, target and end token; the separator is the tokenizer's own, else a newline."""
    eos = tokenizer.eos_token_id
    between = tokenizer.sep_token or "\n"
    separator = tokenizer(between, add_special_tokens=False)["input_ids"]
    source_rows, long = _tokenise_and_cut(tokenizer, [e.texts[0] for e in examples], protocol.max_length)
    # Without the source's end token, because the target follows in the same text.
    prompts = [[*(row[:-1] if row[-1] == eos else row), *separator] for row in source_rows]
    plain = tokenizer([str(e.label) for e in examples], add_special_tokens=False, verbose=False)["input_ids"]
    # The end token takes one of the allowed positions.
    over = np.array([len(row) >= protocol.max_target_length for row in plain])
    target_rows = [[*row[: protocol.max_target_length - 1], eos] for row in plain]
    fill = eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    ids, lengths = pad_rows([p + t for p, t in zip(prompts, target_rows, strict=True)], fill)
    starts = np.array([len(p) for p in prompts], dtype=np.int64)
    cut = long | over if train else long
    return CausalRows([e.id for e in examples], ids, lengths, starts, fill, [str(e.label) for e in examples], cut)


def _tokenise_and_cut(
    tokenizer: Any, texts: Sequence[str], most: int, *, target: bool = False
) -> tuple[list[list[int]], np.ndarray]:
    """(tokens of each text, at most `most`; whether each text was longer); the end token is kept."""
    name = "text_target" if target else "text"
    plain = tokenizer(**{name: list(texts)}, truncation=False, padding=False, verbose=False)["input_ids"]
    long = np.array([len(row) > most for row in plain])
    if not long.any():
        return plain, long
    where = np.flatnonzero(long)
    # Only long texts are tokenized again, because most rows are short.
    again = {name: [texts[int(i)] for i in where]}
    short = tokenizer(**again, truncation=True, max_length=most, verbose=False)["input_ids"]
    for i, row in zip(where, short, strict=True):
        plain[i] = row
    return plain, long


def _set_languages(tokenizer: Any, source: str, target: str) -> int | None:
    """Set the languages of a multilingual tokenizer; returns the target's token, None for other tokenizers."""
    if not hasattr(tokenizer, "src_lang"):
        return None
    vocabulary = tokenizer.get_vocab()
    codes = []
    for name in (source, target):
        codes += [code for code in CODES[name] if code in vocabulary][:1]
    if len(codes) < 2:
        raise UserError(f"the model's tokenizer has no language tokens for {source} and {target}; use another model")
    tokenizer.src_lang, tokenizer.tgt_lang = codes
    return int(vocabulary[codes[1]])


def _build_prefix(config: Any, source: str, target: str) -> str:
    """The task prefix of T5's pretraining; empty for a model whose config lists no translation task."""
    declared = getattr(config, "task_specific_params", None) or {}
    if not any(name.startswith("translation_") for name in declared):
        return ""
    return f"translate {LANGUAGES[source]} to {LANGUAGES[target]}: "


def _check_positions(config: Any, protocol: Protocol) -> None:
    """Raise UserError where the model has fewer positions than the protocol's lengths need."""
    limit = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    # T5's relative positions have no limit, whatever its n_positions says.
    if config.model_type in ("t5", "mt5", "umt5") or limit is None:
        return
    both = config.is_encoder_decoder
    needed = max(protocol.max_length, protocol.max_target_length)
    # A causal model has source and target in one row, with one separator token between them.
    needed = needed if both else protocol.max_length + protocol.max_target_length + 1
    if needed > limit:
        lengths = f"max-length={protocol.max_length} and max-target-length={protocol.max_target_length}"
        raise UserError(f"{lengths} need {needed} positions, the model has {limit}; give smaller ones")
