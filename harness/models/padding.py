"""Model and tokenizer brought into line at load time, so that padding never changes a score.

Rows are padded on the right with the tokenizer's pad token, and every model gets their attention mask. What still reads
padding is the pooling of classifiers that take the last token: transformers looks for the pad token of config.json,
which the tokenizer need not share, and takes position -1 where it has none or gets embeddings.
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
"""The attribute of a loaded tokenizer that holds the number of the model's embeddings."""


def reconcile_tokenizer(source: ModelSource, tokenizer: Any, config: Any) -> None:
    """Give the tokenizer a pad token that the model has an embedding of.

    Raises UserError where texts could have other tokens beyond the embeddings.
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
    # padding is masked, so any token will do; an encoder-decoder is read at its end token, of which a row has one
    candidates = [tokenizer.eos_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id, *range(rows)]
    fill = next(number for number in candidates if number is not None and number < rows and number != end)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(fill)


def check_pad_token(source: ModelSource, config: Any) -> None:
    """Raise UserError for a pad token of config.json beyond the embeddings: transformers cannot build such a model."""
    text = config.get_text_config()
    pad, rows = getattr(text, "pad_token_id", None), getattr(text, "vocab_size", None)
    if isinstance(pad, int) and isinstance(rows, int) and pad >= rows:
        raise UserError(
            f"model '{source.name}': its config.json has pad_token_id={pad} and {rows:,} embeddings;"
            f" allowed: 0 to {rows - 1}, or none; correct config.json"
        )


def reconcile_model(model: nn.Module) -> None:
    """Make a classifier that reads the last token find it by the attention mask, whatever pads its rows."""
    config: Any = model.config
    text = config.get_text_config()
    pad = getattr(text, "pad_token_id", None)
    if pad is None:
        # set after the embeddings are made, which would not train this row; transformers only asks for some number
        text.pad_token_id = 0
    if has_last_token_pooling(model):
        model.base_model.register_forward_hook(functools.partial(_spread_last_token, pad), with_kwargs=True)  # type: ignore[union-attr]


PROBED: set[str] = set()
"""Contents of the models that `check_padding` has let pass in this process."""
PROBE = 16
"""Positions and tokens that a model needs to be probed, offsets included."""
TOLERANCE = 1e-3
"""Of the largest logit. Rounding moves float32 logits by about 1e-6, a model that reads padding by 1e-2 and more."""


def check_padding(source: ModelSource, model: nn.Module) -> None:
    """Raise UserError for a float32 classifier whose logits change with padding, as of convolutions over the text."""
    import torch

    config: Any = model.config
    text = config.get_text_config()
    vocabulary = getattr(text, "vocab_size", None)
    positions = getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None) or PROBE
    if source.ref.content in PROBED or vocabulary is None or min(vocabulary, positions) < PROBE:
        return
    if config.is_encoder_decoder and not isinstance(config.eos_token_id, int):
        return  # `preflight` refuses it
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
    """The ids of a token of config.json, which has several where a text may end in one of them."""
    return value if isinstance(value, list) else [value]


def has_last_token_pooling(model: nn.Module) -> bool:
    """Whether it is a classifier that pools the last token: a causal model's, or XLNet's."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    config: Any = model.config
    if "ForSequenceClassification" not in type(model).__name__ or config.is_encoder_decoder:
        return False
    if hasattr(model, "sequence_summary"):  # XLNet and XLM: their config says which token
        return getattr(config, "summary_type", "last") == "last"
    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and hasattr(model, "score")


def _spread_last_token(pad: int | None, backbone: nn.Module, args: tuple[Any, ...], inputs: Any, output: Any) -> Any:
    """The backbone's output with the hidden state of each row's last token at every position [B, n, d].

    Transformers pools one of the positions afterwards. As it does for a row alone, tokens of the text that are the pad
    token of config.json (`pad`) are passed over.
    """
    hidden: Tensor = output[0]
    length = hidden.shape[1]
    mask, ids = inputs.get("attention_mask"), inputs.get("input_ids", args[0] if args else None)
    positions = hidden.new_ones(hidden.shape[:2]).long().cumsum(-1) - 1
    real = positions >= 0
    if mask is not None:
        real = real & (mask[:, -length:] != 0)  # past keys and values come first in the mask
    if ids is not None and pad is not None:
        real = real & (ids != pad)
    last = (positions * real).argmax(-1)
    spread = hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[-1])).expand_as(hidden)
    if isinstance(output, tuple):
        return (spread, *output[1:])
    output.last_hidden_state = spread
    return output
