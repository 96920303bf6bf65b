"""Word-level tokenizer of the exams; line ends count as spaces, so that a letter is the same token everywhere."""

from __future__ import annotations

import re
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")


def split_words(text: str) -> list[str]:
    """Words and runs of marks, as the tokenizer splits them."""
    return re.findall(r"\w+|[^\w\s]+", text)


def build_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """Fast tokenizer that opens a text with `<s>`."""
    # Whole words, so that each value and each letter is one token.
    core = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=512,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )


def save_tokenizer(words: list[str], folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    build_tokenizer(words).save_pretrained(str(folder))
