"""Tiny models of each family of transformers, with random weights and a tokenizer of a few words."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch

WORDS = "good bad great awful film plot actor boring lovely dull bright slow fast story music scene weak strong".split()
LABELS = ("negative", "neutral", "positive")
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "\n")

ROWS = 8
"""Rows of the scored split."""


@dataclasses.dataclass(frozen=True)
class Family:
    """A model family: its configuration and class in transformers, its tokenizer's template, its kinds of tasks.

    `pad` is the tokenizer's pad token, or None. `kinds` are "classification" and "generation".
    """

    config: Callable[[], Any]
    auto: str
    template: str
    kinds: tuple[str, ...] = ("classification",)
    pad: str | None = "<pad>"


BOTH = ("classification", "generation")
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
# Wide enough for rank 4, small enough to train all methods of a family in a minute on a CPU.
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def _build_config(kind: str, **fields: Any) -> Callable[[], Any]:
    def make() -> Any:
        from transformers import AutoConfig

        size = len(SPECIAL) + len(WORDS)
        config = AutoConfig.for_model(kind, vocab_size=size, **fields)
        for field in ("initializer_range", "init_std"):
            # Weights as small as those of a usual initialization would hide differences.
            if hasattr(config, field):
                setattr(config, field, 0.15)
        return config

    return make


def _build_encoder(kind: str, **fields: Any) -> Family:
    return Family(
        _build_config(kind, max_position_embeddings=64, pad_token_id=0, **SHAPE, **fields), "MaskedLM", "<s> $A </s>"
    )


def _build_causal(kind: str, pad: str | None = "<pad>", /, **fields: Any) -> Family:
    return Family(_build_config(kind, **fields), "CausalLM", "<s> $A", BOTH, pad)


def _build_sides(**fields: Any) -> dict[str, Any]:
    both = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in fields.items()}
    return both | {"d_model": 32, "max_position_embeddings": 64}


GROUPED = SHAPE | {"num_key_value_heads": 2, "max_position_embeddings": 128}
PADLESS = {"bos_token_id": 1, "eos_token_id": 2}
RELATIVE = {
    "relative_attention": True,
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
BART = _build_sides(layers=2, attention_heads=4, ffn_dim=64) | {"decoder_start_token_id": 2, "forced_eos_token_id": 2}
MODERN = {"cls_token_id": 1, "sep_token_id": 2, "local_attention": 8, "global_attn_every_n_layers": 2}
OPT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64, "word_embed_proj_dim": 32}
SMALL = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128}
DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64, "pad_token_id": 0}

# Causal models differ in their pad token (none, the end token, only in the tokenizer), which classifiers that pool
# the last token depend on; fused projections have other layer names.
FAMILIES: dict[str, Family] = {
    "bert": _build_encoder("bert"),
    "albert": _build_encoder("albert", embedding_size=16),
    "roberta": _build_encoder("roberta", type_vocab_size=1),
    "distilbert": Family(_build_config("distilbert", **DISTIL), "MaskedLM", "<s> $A </s>"),
    "deberta": _build_encoder("deberta-v2", **RELATIVE),
    "modernbert": _build_encoder("modernbert", **MODERN, bos_token_id=1, eos_token_id=2),
    "bart": Family(_build_config("bart", **BART, **IDS), "Seq2SeqLM", "<s> $A </s>", BOTH),
    "t5": Family(_build_config("t5", **T5, pad_token_id=0, eos_token_id=2), "Seq2SeqLM", "$A </s>", BOTH),
    "opt": _build_causal("opt", **OPT, **IDS, max_position_embeddings=128),
    "gpt2": _build_causal("gpt2", None, **SMALL, **PADLESS),
    "llama (no pad token)": _build_causal("llama", None, **GROUPED, **PADLESS),
    "llama (pads with the end token)": _build_causal("llama", "</s>", **GROUPED, **PADLESS),
    "qwen2 (pad token of the tokenizer alone)": _build_causal("qwen2", **GROUPED, **PADLESS),
    "qwen2 (pad token in the config too)": _build_causal("qwen2", **GROUPED, **IDS),
    "phi3 (fused projections)": _build_causal("phi3", **GROUPED, **IDS),
    "gpt_neox (fused projections)": _build_causal("gpt_neox", **SHAPE, **IDS, max_position_embeddings=128),
    "bloom (fused projections)": _build_causal("bloom", hidden_size=32, n_layer=2, n_head=4, **IDS),
}


def build_model(name: str, folder: Path) -> Path:
    """Save a tiny language model with random weights and its tokenizer; returns the folder."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    family = FAMILIES[name]
    vocabulary = {word: number for number, word in enumerate((*SPECIAL, *WORDS))}
    core = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    # Split at spaces only, because the newline is a token of its own, which ends a causal model's prompt.
    core.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
    core.decoder = decoders.WordPiece("##", cleanup=False)
    used = [(token, vocabulary[token]) for token in SPECIAL[:3]]
    core.post_processor = processors.TemplateProcessing(single=family.template, special_tokens=used)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": family.pad}
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, model_input_names=["input_ids", "attention_mask"], **names
    )
    # Every run of the script must check the same weights.
    torch.manual_seed(0)
    auto = getattr(transformers, f"AutoModelFor{family.auto}")
    with filter_warnings():
        auto.from_config(family.config()).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


@contextlib.contextmanager
def filter_warnings() -> Iterator[None]:
    """Silence warnings and progress bars of transformers."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _generate_texts(count: int, seed: int) -> list[str]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 10, (count,), generator=generator)
    texts = []
    for length in lengths.tolist():
        numbers = torch.randint(len(WORDS), (length,), generator=generator).tolist()
        texts.append(" ".join([WORDS[number] for number in numbers]))
    return texts


def write_data(folder: Path) -> None:
    """Write a table with three classes, and sentence pairs under the names of WMT's files."""
    for part, count, seed in (("train", 48, 0), ("validation", ROWS, 1)):
        texts = _generate_texts(count, seed)
        frame = pd.DataFrame({"text": texts, "label": [LABELS[len(text) % 3] for text in texts]})
        frame.to_csv(folder / f"{part}.csv", index=False)
    for stem, count, seed in (("newsdev2016", 48, 2), ("newstest2016", ROWS, 3)):
        sources = _generate_texts(count, seed)
        (folder / f"{stem}.en").write_text("".join(f"{text}\n" for text in sources))
        (folder / f"{stem}.ro").write_text("".join(f"{' '.join(text.split()[::-1])}\n" for text in sources))
