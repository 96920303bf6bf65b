"""Tiny random models of many families with a matching tokenizer, saved as their authors save them, for tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

WORDS = (
    "film plot actor scene music ending story cast joke line good bad long short dull bright funny sad fine weak "
    "was is and but not very the a this that of with translate English Romanian to : . , ? ! \n"
).split(" ")
"""The vocabulary, besides the special tokens; any other word is unknown."""
TEXTS = (
    "the film was good",
    "a dull and very long film with a weak plot and a bad ending",
    "not funny",
    "this actor is fine but the music of that scene was sad",
)


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Special tokens by id, the template around a text and around a pair, and the roles of the tokens."""

    special: tuple[str, ...]
    single: str
    pair: str
    roles: Mapping[str, str]
    byte_level: bool = False

    def build(self) -> Any:
        """A fast tokenizer of whole words, or of byte-level BPE where transformers has its own class for the family."""
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
        from transformers import PreTrainedTokenizerFast

        if self.byte_level:
            core = Tokenizer(models.BPE())
            core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            core.decoder = decoders.ByteLevel()
            alphabet = pre_tokenizers.ByteLevel.alphabet()
            trainer = trainers.BpeTrainer(special_tokens=list(self.special), initial_alphabet=alphabet)
            core.train_from_iterator([*TEXTS, " ".join(WORDS)], trainer)
            return PreTrainedTokenizerFast(tokenizer_object=core, **self.roles)
        ids = {token: i for i, token in enumerate([*self.special, *WORDS])}
        core = Tokenizer(models.WordLevel(ids, self.roles["unk_token"]))
        core.pre_tokenizer = pre_tokenizers.Split(" ", "removed")
        core.decoder = decoders.WordPiece("##", cleanup=False)
        used = [(token, i) for token, i in ids.items() if token in self.single.split() or f" {token}" in self.pair]
        core.post_processor = processors.TemplateProcessing(single=self.single, pair=self.pair, special_tokens=used)
        return PreTrainedTokenizerFast(tokenizer_object=core, **self.roles)


BERT = Tokens(
    ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    "[CLS] $A [SEP]",
    "[CLS] $A [SEP] $B:1 [SEP]:1",
    {
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    },
)
ROBERTA = Tokens(
    ("<s>", "<pad>", "</s>", "<unk>", "<mask>"),
    "<s> $A </s>",
    "<s> $A </s> </s> $B </s>",
    {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "mask_token": "<mask>",
    },
)
XLNET = Tokens(
    ("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>"),
    "$A <sep> <cls>:2",
    "$A <sep> $B:1 <sep>:1 <cls>:2",
    {"pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<cls>", "sep_token": "<sep>", "eos_token": "</s>"},
)
T5 = Tokens(
    ("<pad>", "</s>", "<unk>"),
    "$A </s>",
    "$A </s> $B </s>",
    {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
)
GPT2 = Tokens(
    ("<|endoftext|>",),
    "$A",
    "$A $B",
    {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"},
)
LLAMA = Tokens(
    ("<unk>", "<s>", "</s>"),
    "<s> $A",
    "<s> $A <s> $B",
    {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
)
QWEN = Tokens(
    ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    "$A",
    "$A $B",
    {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"},
    byte_level=True,
)
GEMMA = Tokens(
    ("<pad>", "<eos>", "<bos>", "<unk>"),
    "<bos> $A",
    "<bos> $A <bos> $B",
    {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"},
)
OPT = Tokens(
    ("<s>", "<pad>", "</s>", "<unk>"),
    "</s> $A",
    "</s> $A </s> $B",
    {"bos_token": "</s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"},
)
PHI = dataclasses.replace(LLAMA, roles={**LLAMA.roles, "pad_token": "</s>"})


@dataclasses.dataclass(frozen=True)
class Family:
    """Names of transformers' configuration and pretraining class, the tokenizer, and the fields of the config."""

    config: str
    model: str
    tokens: Tokens
    fields: Mapping[str, Any]


WIDE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
GROUPED = {**WIDE, "num_key_value_heads": 2, "max_position_embeddings": 128}
SIDES = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
}
SMALL_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
SHORT = {**WIDE, "max_position_embeddings": 64}
DISENTANGLED = {
    "type_vocab_size": 0,
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
}

ENCODERS = {
    "bert": Family("BertConfig", "BertForMaskedLM", BERT, SHORT),
    "bert-pooled": Family("BertConfig", "BertModel", BERT, SHORT),
    "albert": Family("AlbertConfig", "AlbertForMaskedLM", BERT, {**SHORT, "embedding_size": 16}),
    "roberta": Family("RobertaConfig", "RobertaForMaskedLM", ROBERTA, {**SHORT, "type_vocab_size": 1}),
    "xlm-roberta": Family("XLMRobertaConfig", "XLMRobertaForMaskedLM", ROBERTA, {**SHORT, "type_vocab_size": 1}),
    "distilbert": Family(
        "DistilBertConfig",
        "DistilBertForMaskedLM",
        BERT,
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 64},
    ),
    "electra": Family("ElectraConfig", "ElectraForPreTraining", BERT, {**SHORT, "embedding_size": 16}),
    "deberta-v2": Family("DebertaV2Config", "DebertaV2ForMaskedLM", BERT, {**SHORT, **DISENTANGLED}),
    "modernbert": Family(
        "ModernBertConfig",
        "ModernBertForMaskedLM",
        BERT,
        {**SHORT, "local_attention": 8, "global_attn_every_n_layers": 2, "bos_token_id": 2, "eos_token_id": 3}
        | {"cls_token_id": 2, "sep_token_id": 3, "pad_token_id": 0},
    ),
    "xlnet": Family(
        "XLNetConfig", "XLNetLMHeadModel", XLNET, {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}
    ),
}
ENCODER_DECODERS = {
    "bart": Family("BartConfig", "BartForConditionalGeneration", ROBERTA, {**SIDES, "forced_eos_token_id": 2}),
    "t5": Family("T5Config", "T5ForConditionalGeneration", T5, SMALL_T5),
    "mt5": Family("MT5Config", "MT5ForConditionalGeneration", T5, {**SMALL_T5, "tie_word_embeddings": False}),
    "marian": Family("MarianConfig", "MarianMTModel", T5, {**SIDES, "decoder_start_token_id": 0, "pad_token_id": 0}),
}
CAUSAL = {
    "gpt2": Family("GPT2Config", "GPT2LMHeadModel", GPT2, {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "opt": Family(
        "OPTConfig",
        "OPTForCausalLM",
        OPT,
        {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 48, "word_embed_proj_dim": 32}
        | {"max_position_embeddings": 64},
    ),
    "llama": Family("LlamaConfig", "LlamaForCausalLM", LLAMA, GROUPED),
    "qwen2": Family("Qwen2Config", "Qwen2ForCausalLM", QWEN, {**GROUPED, "tie_word_embeddings": True}),
    "qwen3": Family("Qwen3Config", "Qwen3ForCausalLM", QWEN, {**GROUPED, "head_dim": 16, "tie_word_embeddings": True}),
    "gemma": Family("GemmaConfig", "GemmaForCausalLM", GEMMA, {**GROUPED, "head_dim": 16}),
    "gemma3": Family("Gemma3TextConfig", "Gemma3ForCausalLM", GEMMA, {**GROUPED, "head_dim": 16, "sliding_window": 16}),
    "mistral": Family("MistralConfig", "MistralForCausalLM", LLAMA, {**GROUPED, "sliding_window": 32}),
    "phi3": Family("Phi3Config", "Phi3ForCausalLM", PHI, GROUPED),
    "neox": Family("GPTNeoXConfig", "GPTNeoXForCausalLM", GPT2, {**WIDE, "max_position_embeddings": 128}),
    "bloom": Family("BloomConfig", "BloomForCausalLM", GEMMA, {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
}
FAMILIES: Mapping[str, Family] = {**ENCODERS, **ENCODER_DECODERS, **CAUSAL}


def build_family(name: str, folder: Path, **fields: Any) -> Path:
    """A folder with the model and tokenizer of a family, the same weights each time; `fields` change its config.

    The tokenizer's own ids of its special tokens are in the config, save the pad token of qwen2 and qwen3, which the
    authors have in the tokenizer only, and of gpt2, neox, llama and mistral, which have none.
    """
    import transformers

    family = FAMILIES[name]
    tokenizer = family.tokens.build()
    own = {"vocab_size": len(tokenizer)} | _special_ids(name, tokenizer) | dict(family.fields) | fields
    config = getattr(transformers, family.config)(**own)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(transformers, family.model)(config)
        for parameter in model.parameters():
            if parameter.dim() == 2:  # large enough that each token moves the logits
                parameter.data.normal_(0, 0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _special_ids(name: str, tokenizer: Any) -> dict[str, int]:
    ids = {role: getattr(tokenizer, f"{role}_token_id") for role in ("pad", "bos", "eos")}
    if name in ("qwen2", "qwen3"):
        del ids["pad"]
    return {f"{role}_token_id": number for role, number in ids.items() if number is not None}
