"""Word-level tokenizer of the generated texts, and the table of words that may replace a word."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from suites.embedded.lemmas import list_lemma_groups

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
Ints = npt.NDArray[np.int64]


def build_vocabulary(sentences: Iterable[list[str]]) -> list[str]:
    """Special tokens, then every word of the classes and of the given text, sorted."""
    words = {word for group in list_lemma_groups() for synonyms in group for word in synonyms}
    words.update(word for sentence in sentences for word in sentence)
    return [*SPECIAL, *sorted(words)]


def build_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """Fast tokenizer with BERT's special tokens and sentence-pair layout."""
    core = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", words.index("[CLS]")), ("[SEP]", words.index("[SEP]"))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_max_length=64,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def save_tokenizer(words: list[str], folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    build_tokenizer(words).save_pretrained(str(folder))


def build_replacement_table(words: list[str]) -> tuple[Ints, Ints]:
    """For each word id, the ids that may replace it with a change of meaning or form, and their number.

    A word of the same class but another synonym group changes the meaning; another form of the same word (dog, dogs)
    breaks agreement. Forms are repeated, so that about a third of the draws changes the form.
    """
    index = {word: number for number, word in enumerate(words)}
    table: dict[int, list[int]] = {}
    for groups in list_lemma_groups():
        for group in groups:
            other_ids = [index[word] for other in groups if other is not group for word in other]
            for word in group:
                table[index[word]] = other_ids
    for form_of, form in _list_form_pairs():
        same = table[index[form_of]]
        table[index[form_of]] = same + [index[form]] * (len(same) // 5)
        table[index[form]] = table[index[form]] + [index[form_of]] * (len(same) // 5)
    width = max(len(row) for row in table.values())
    filled = np.zeros((len(words), width), dtype=np.int64)
    sizes = np.zeros(len(words), dtype=np.int64)
    for number, row in table.items():
        filled[number, : len(row)] = row
        sizes[number] = len(row)
    return filled, sizes


def _list_form_pairs() -> list[tuple[str, str]]:
    """Pairs of forms of one word."""
    singular, plural, base, third, past = list_lemma_groups()[:5]
    form_pairs: list[tuple[str, str]] = []
    for first, second in ((singular, plural), (base, third), (third, past), (base, past)):
        form_pairs += [pair for one, two in zip(first, second, strict=True) for pair in zip(one, two, strict=True)]
    return form_pairs
