"""Make model and tokenizer agree at load time, so that padding never changes a score.

Rows are padded on the right with the tokenizer's pad token, and every model gets the attention mask. One place still
reads padding: classifiers that pool the last token. transformers finds that token by the pad token of config.json,
which may differ from the tokenizer's, and takes position -1 where there is none or where it gets embeddings.

    row      [a, b, c, pad, pad]
    mask     [1, 1, 1,   0,   0]      last real token: c, whatever the pad token is
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.core.failure import is_out_of_memory, summarize_error

if TYPE_CHECKING:
    from torch import Tensor, nn

    from harness.models.source import ModelSource


EMBEDDINGS = "model_embeddings"
"""The attribute of a loaded tokenizer that holds the number of rows of the model's embedding."""


def reconcile_tokenizer(source: ModelSource, tokenizer: Any, config: Any) -> None:
    """Give the tokenizer a pad token that has an embedding in the model.

    Raises UserError where a text could contain a token without an embedding.
    """
    rows = getattr(config.get_text_config(), "vocab_size", None)
    if rows is None:
        return
    setattr(tokenizer, EMBEDDINGS, rows)
    vocabulary = tokenizer.get_vocab()
    beyond = {token: number for token, number in vocabulary.items() if number >= rows and token != tokenizer.pad_token}
    if beyond:
        tokens = max(vocabulary.values()) + 1
        added = sorted(set(beyond) & set(tokenizer.get_added_vocab()), key=beyond.__getitem__)
        names = f" ({', '.join(added[:3])}{', ...' if len(added) > 3 else ''} were added)" if added else ""
        raise UserError(
            f"model '{source.name}': its tokenizer has {tokens:,} tokens{names} and its embeddings {rows:,};"
            " save the tokenizer there that the model was trained with, or the model after resize_token_embeddings"
        )
    end = config.eos_token_id if config.is_encoder_decoder else None
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id < rows and tokenizer.pad_token_id != end:
        return
    # Padding is masked, so any token serves. An encoder-decoder classifier pools its end token, which must stay unique.
    candidates = [tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, *range(rows)]
    fill = next(number for number in candidates if number is not None and number < rows and number != end)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(fill)


def check_pad_token(source: ModelSource, config: Any) -> None:
    """Raise UserError for a pad token of config.json without an embedding: transformers cannot build such a model."""
    text = config.get_text_config()
    pad, rows = getattr(text, "pad_token_id", None), getattr(text, "vocab_size", None)
    if isinstance(pad, int) and isinstance(rows, int) and pad >= rows:
        raise UserError(
            f"model '{source.name}': its config.json has pad_token_id={pad} and {rows:,} embeddings;"
            f" allowed: 0 to {rows - 1}, or none; correct config.json"
        )


def reconcile_model(model: nn.Module) -> None:
    """Make a classifier that pools the last token find it by the attention mask instead of the pad token."""
    config: Any = model.config
    text = config.get_text_config()
    pad = getattr(text, "pad_token_id", None)
    if pad is None:
        # transformers requires a number for batches of several rows. It is set after the embedding is built, because
        # an embedding built with it would not train that row.
        text.pad_token_id = 0
    if has_last_token_pooling(model):
        model.base_model.register_forward_hook(functools.partial(_spread_last_token, pad), with_kwargs=True)  # type: ignore[union-attr]


PROBED: set[str] = set()
"""Content hashes of the models that passed `check_padding` in this process."""
PROBE = 16
"""Positions and tokens that the probe needs, position offsets included; smaller models are not probed."""
TOLERANCE = 1e-3
"""Share of the largest logit. Rounding moves float32 logits by about 1e-6 of it, padding by 1e-2 or more."""


def check_padding(source: ModelSource, model: nn.Module) -> None:
    """Raise UserError for a float32 classifier whose logits change with padding, such as one with convolutions.

    Compares logits of two rows with and without 5 padding tokens.
    """
    import torch

    config: Any = model.config
    text = config.get_text_config()
    vocabulary = getattr(text, "vocab_size", None)
    positions = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None) or PROBE
    if source.ref.content in PROBED or vocabulary is None or min(vocabulary, positions) < PROBE:
        return
    if config.is_encoder_decoder and not isinstance(config.eos_token_id, int):
        return  # planning/preflight.py refuses such a model
    reserved = {token for role in ("pad", "bos", "eos") for token in _tokens(getattr(text, f"{role}_token_id", None))}
    words = [number for number in range(vocabulary) if number not in reserved][:6]
    end = [config.eos_token_id] if config.is_encoder_decoder else []
    row, padding = [*words, *end], words[:1] * 5
    device = next(model.parameters()).device
    ids = torch.tensor([[*row, *padding], [*words[::-1], *end, *padding]], device=device)
    mask = torch.ones_like(ids)
    mask[:, len(row) :] = 0
    try:
        with torch.no_grad():
            padded = model(input_ids=ids, attention_mask=mask).logits
            alone = model(input_ids=ids[:, : len(row)], attention_mask=mask[:, : len(row)]).logits
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"model '{source.name}': its first forward pass fails: {summarize_error(error)}; correct its config.json"
        ) from error
    difference, largest = float((padded - alone).abs().max()), float(alone.abs().max())
    if difference > TOLERANCE * largest:
        problem = f"padding changes its logits by {difference:.1g} (the largest is {largest:.1g})"
        raise UserError(
            f"model '{source.name}': {problem}, as models of type '{config.model_type}' read it;"
            " give a model that reads its attention mask (bert, roberta, llama)"
        )
    PROBED.add(source.ref.content)


def _tokens(value: Any) -> list[Any]:
    """The ids of a special token of config.json; Llama 3, for example, has several end tokens."""
    return value if isinstance(value, list) else [value]


def has_last_token_pooling(model: nn.Module) -> bool:
    """Whether a model is a classifier that pools the last token: that of a causal model, or XLNet's."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    config: Any = model.config
    if "ForSequenceClassification" not in type(model).__name__ or config.is_encoder_decoder:
        return False
    if hasattr(model, "sequence_summary"):  # XLNet and XLM: their config says which token
        return getattr(config, "summary_type", "last") == "last"
    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and hasattr(model, "score")


def _spread_last_token(pad: int | None, backbone: nn.Module, args: tuple[Any, ...], inputs: Any, output: Any) -> Any:
    """The backbone's output [B, n, d] with the hidden state of each row's last real token copied to every position.

    transformers then pools one position, and any gives the right state. Tokens of the text that equal the pad token of
    config.json (`pad`) do not count as last, because transformers skips them in a row without padding too.
    """
    hidden: Tensor = output[0]
    length = hidden.shape[1]
    mask, ids = inputs.get("attention_mask"), inputs.get("input_ids", args[0] if args else None)
    # argmax of position * real: the last position where `real` holds, without a loop over rows.
    positions = hidden.new_ones(hidden.shape[:2]).long().cumsum(-1) - 1
    real = positions >= 0
    if mask is not None:
        real = real & (mask[:, -length:] != 0)  # the mask also covers past keys and values, which come first
    if ids is not None and pad is not None:
        real = real & (ids != pad)
    last = (positions * real).argmax(-1)
    spread = hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[-1])).expand_as(hidden)
    if isinstance(output, tuple):
        return (spread, *output[1:])
    output.last_hidden_state = spread
    return output
