"""Tiny language models, a tokenizer and rows to translate, shared by the tests of language models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from harness.core.method import Example, Member, Method
from harness.core.protocol import Protocol
from harness.core.seeds import Streams, equal
from harness.data.task_types.text_rows import CausalRows, EncoderDecoderRows, TextRows
from harness.data.task_types.token_losses import TokenLosses
from harness.models.load import disable_attention_dropout
from harness.planning.schedule import count_steps
from harness.replicas.groups import Attached
from harness.training.pack_setup import build_calibration
from harness.training.trainer import Trainer

WORDS = 40
PAD, EOS = 0, 1


def config(kind: str, dropout: float = 0.0, words: int = WORDS, width: int = 16) -> Any:
    """The configuration of a tiny model: t5, bart, marian, mbart or llama."""
    import transformers

    names = {"vocab_size": words, "pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": EOS}
    if kind == "t5":
        shape = {"d_model": width, "d_kv": width // 4, "d_ff": 2 * width, "num_heads": 4, "num_layers": 2}
        return transformers.T5Config(**names, **shape, dropout_rate=dropout, decoder_start_token_id=PAD)
    if kind == "llama":
        shape = {"hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2, "num_attention_heads": 4}
        return transformers.LlamaConfig(**names, **shape, max_position_embeddings=64)
    sides = {
        f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in (("layers", 1), ("ffn_dim", 2 * width))
    }
    heads = {"encoder_attention_heads": 4, "decoder_attention_heads": 4}
    rates = {"dropout": dropout, "activation_dropout": dropout, "attention_dropout": 0.0}
    made = {"bart": transformers.BartConfig, "marian": transformers.MarianConfig, "mbart": transformers.MBartConfig}
    start = {} if kind == "mbart" else {"decoder_start_token_id": PAD if kind == "marian" else EOS}
    more = {"max_position_embeddings": 64, "d_model": width, "forced_eos_token_id": None}
    return made[kind](**names, **sides, **heads, **rates, **start, **more)


def make_model(
    kind: str, dropout: float = 0.0, words: int = WORDS, dtype: torch.dtype = torch.float64, width: int = 16
) -> nn.Module:
    """The same random model each time, frozen, its weights large enough that its inputs matter."""
    import transformers

    made = config(kind, dropout, words, width)
    auto = transformers.AutoModelForSeq2SeqLM if made.is_encoder_decoder else transformers.AutoModelForCausalLM
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # llama's eager attention gives NaN for rows padded on the left in float64, not in float32
        model = auto.from_config(made, attn_implementation="sdpa" if kind == "llama" else "eager")
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.data.normal_(0, 0.3)
    disable_attention_dropout(model)
    return model.to(dtype).requires_grad_(False)  # type: ignore[no-any-return]


def rows(kind: str, count: int = 24, seed: int = 0) -> TextRows:
    """Random rows of 3 to 8 tokens to read, and as many to write, each ending in EOS."""
    rng = np.random.default_rng(seed)
    sides = []
    for _ in range(2):
        lengths = rng.integers(3, 9, count)
        ids = rng.integers(4, WORDS, (count, 8), dtype=np.int32)
        ids[np.arange(count), lengths - 1] = EOS
        ids[np.arange(8)[None, :] >= lengths[:, None]] = PAD
        sides.append((ids, lengths.astype(np.int64)))
    (read, lengths), (told, sizes) = sides
    names, uncut = [str(i) for i in range(count)], np.zeros(count, bool)
    if kind != "llama":
        start = config(kind).decoder_start_token_id
        start = EOS if kind == "mbart" else int(start)
        return EncoderDecoderRows(
            names, torch.from_numpy(read), lengths, torch.from_numpy(told), sizes, start, names, uncut
        )
    joined = np.zeros((count, 16), dtype=np.int32)
    for i in range(count):
        own = [*read[i, : lengths[i]], *told[i, : sizes[i]]]
        joined[i, : len(own)] = own
    return CausalRows(names, torch.from_numpy(joined), lengths + sizes, lengths, PAD, names, uncut)


def targets(split: TextRows, chosen: np.ndarray) -> torch.Tensor:
    """What the loss of the given rows looks at."""
    return split.targets(split.place(chosen), split.shape(chosen))


def protocol(**fields: object) -> Protocol:
    start = {"lr": 1e-2, "epochs": 100.0, "max_steps": 12, "batch_size": 6, "max_length": 8, "warmup": 0.1}
    return Protocol.model_validate(start | {"max_target_length": 8} | fields)


def trainer(
    model: nn.Module, methods: Sequence[Method], protocols: Sequence[Protocol], seeds: Sequence[int], split: TextRows
) -> tuple[Trainer, Attached]:
    streams = [Streams(equal(s)) for s in seeds]
    steps = [count_steps(p, len(split)) for p in protocols]
    members = [Member(m, s, n) for m, s, n in zip(methods, streams, steps, strict=True)]
    losses = TokenLosses(protocols[0].label_smoothing)
    attached = members[0].method.attach(model, members, build_calibration(split, losses))
    return Trainer(model, attached, split, protocols, streams, losses), attached


SENTENCES = [
    ("the cat sees the dog .", "pisica vede câinele ."),
    ("the dog sees the cat .", "câinele vede pisica ."),
    ("the cat sleeps .", "pisica doarme ."),
    ("the dog sleeps now .", "câinele doarme acum ."),
    ("the bird sings well .", "pasărea cântă bine ."),
    ("the bird sees the cat now .", "pasărea vede pisica acum ."),
    ("the dog and the bird sing .", "câinele și pasărea cântă ."),
    ("the cat hears the bird .", "pisica aude pasărea ."),
]
EXAMPLES = [Example(f"train/{i}", (en,), ro) for i, (en, ro) in enumerate(SENTENCES)]


def save_model(folder: Path, kind: str, dropout: float = 0.0, width: int = 16) -> Path:
    """A folder with a tiny model and a tokenizer of whole words, as save_pretrained leaves them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = dict.fromkeys(word for pair in SENTENCES for text in pair for word in text.split())
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(["<pad>", "</s>", "<unk>", "\n", *words])}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    core.decoder = decoders.WordPiece("##", cleanup=False)
    if kind != "llama":
        core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, model_input_names=["input_ids", "attention_mask"], **names
    )
    model = make_model(kind, dropout, max(WORDS, core.get_vocab_size()), torch.float32, width)
    model.save_pretrained(folder)  # type: ignore[operator]
    tokenizer.save_pretrained(folder)
    return folder
