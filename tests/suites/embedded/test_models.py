"""The shipped models: small, loaded in 32 bits by transformers, with tokenizers that know the data."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from scripts.embedded.mmlu.questions import ALPACA, HEADER
from scripts.embedded.mmlu.tokens import split_words
from tests.scripts.embedded.made import SHIPPED, size_of

MODELS, DATA = SHIPPED / "models", SHIPPED / "data"
CLASSES = {"seq2seq": AutoModelForSeq2SeqLM, "causal": AutoModelForCausalLM, "multilingual": AutoModel}


@pytest.mark.parametrize("name", CLASSES)
def test_model_is_small_and_loads_in_32_bits(name: str) -> None:
    """No weight is missing, none is left over, and each is a 16-bit number widened."""
    assert size_of(MODELS / name) <= 1_300_000
    model, told = CLASSES[name].from_pretrained(MODELS / name, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    for weight in model.parameters():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, weight.half().float())


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("seq2seq", ("q", "v")), ("causal", ("q_proj", "v_proj")), ("multilingual", ("query", "value"))],
)
def test_query_and_value_are_linear_modules(name: str, kinds: tuple[str, ...]) -> None:
    model = CLASSES[name].from_pretrained(MODELS / name)
    for kind in kinds:
        found = [module for path, module in model.named_modules() if path.split(".")[-1] == kind]
        assert len(found) >= 2 and all(isinstance(module, torch.nn.Linear) for module in found)


def test_the_translation_tokenizer_gives_back_the_text() -> None:
    """Exactly, but for the older cedilla letters, which come back as comma letters; with and without the T5 prefix."""
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "seq2seq")
    texts = [line for path in sorted((DATA / "wmt16").iterdir()) for line in path.read_text("utf-8").splitlines()]
    texts += ["translate English to Romanian: " + text for text in texts[:50]]
    coded = tokenizer(texts)["input_ids"]
    assert not any(tokenizer.unk_token_id in ids for ids in coded)
    letters = str.maketrans("şţ", "șț")
    assert tokenizer.batch_decode(coded, skip_special_tokens=True) == [text.translate(letters) for text in texts]


def test_the_exam_tokenizer_knows_each_word_and_a_letter_is_one_token() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "causal")
    texts = [ALPACA, f"{HEADER} high school geography.\n\nAnswer:"]
    for path in sorted((DATA / "mmlu").rglob("*.csv")):
        texts += [" ".join(row) for row in csv.reader(path.open(encoding="utf-8"))]
    lines = (DATA / "mmlu" / "train.jsonl").read_text("utf-8").splitlines()
    texts += [" ".join(json.loads(line).values()) for line in lines]
    unknown = {word for text in texts for word in split_words(text)} - set(tokenizer.get_vocab())
    # Of the prompt template two words and the marks of its slots; the model was tuned with them unknown.
    assert unknown == {"instruction", "input", "{", "}"}
    for letter in "ABCD":
        whole, context = (tokenizer(text)["input_ids"] for text in (f"Answer: {letter}", "Answer:"))
        assert whole[:-1] == context
        assert [whole[-1]] == tokenizer(f" {letter}", add_special_tokens=False)["input_ids"]


def test_the_multilingual_tokenizer_knows_each_word() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "multilingual")
    texts = [path.read_text("utf-8").replace("\t", " ") for path in sorted((DATA / "xnli").iterdir())]
    labels = {"entailment", "neutral", "contradiction"}
    words = {word for text in texts for word in text.split()} - labels
    known = set(tokenizer.get_vocab())
    assert words <= known


def test_five_shot_prompts_fit() -> None:
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "causal")
    context = AutoModelForCausalLM.from_pretrained(MODELS / "causal").config.max_position_embeddings
    assert context == 512
    for path in sorted((DATA / "mmlu" / "dev").iterdir()):
        rows = list(csv.reader(path.open(encoding="utf-8")))
        one = max(
            len(tokenizer(f"{row[0]} A. {row[1]} B. {row[2]} C. {row[3]} D. {row[4]} Answer: A")["input_ids"])
            for row in rows
        )
        assert 40 + 6 * one <= context
