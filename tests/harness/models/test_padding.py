"""Padding never changes a score: every family in several paddings, against plain transformers and one text alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.core.cell import ModelRef
from harness.core.errors import UserError
from harness.core.method import METHODS, Example, Member
from harness.core.seeds import Streams, equal
from harness.core.suite import Task, TaskData
from harness.data.inputs import read_inputs
from harness.data.task_types.classification import LabelledRows, compute_replica_losses, predict, tokenise
from harness.data.task_types.generation import generate_texts
from harness.data.task_types.translation import build_causal_rows
from harness.data.tokens import pad_rows
from harness.models.load import load_model, load_skeleton, load_tokenizer
from harness.models.source import ModelSource
from harness.training.pack_setup import build_calibration
from tests.harness.families import CAUSAL, FAMILIES, TEXTS, build_family
from tests.harness.small_training import protocol

CLASSIFIERS = sorted(set(FAMILIES) - {"marian"})
NO_PAD = ("llama", "gpt2", "neox", "mistral")
# the last tokens of a text may be those that pad: transformers passes over the pad token of config.json only
ROWS = [*TEXTS, "good <pad>", "the film <|endoftext|>", "fine [PAD]", "sad <unk>", "an unknown word"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: build_family(name, root / name) for name in FAMILIES}


def source_of(folder: Path) -> ModelSource:
    ref = ModelRef(name=folder.name, revision=str(folder))
    return ModelSource(folder.name, folder, ref, "as stored", stand_in=False)


def load(folder: Path) -> nn.Module:
    """A classifier whose head is large enough that the logits differ between rows."""
    model = load_model(source_of(folder), 2).eval()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        inside = set(model.base_model.parameters())  # type: ignore[operator,union-attr,arg-type]
        for parameter in model.parameters():
            if parameter not in inside and parameter.dim() == 2:
                parameter.normal_(0, 0.5)
    return model


def split_of(folder: Path, texts: Sequence[str] = ROWS) -> LabelledRows:
    examples = [Example(str(i), (text,), i % 2) for i, text in enumerate(texts)]
    return tokenise(load_tokenizer(source_of(folder)), examples, 40, regression=False)


def plain_logits(folder: Path, model: nn.Module, texts: Sequence[str] = ROWS) -> np.ndarray:
    """Logits [n, 2] of transformers' own model with the same weights, one unpadded text at a time."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    plain = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2).eval()
    plain.load_state_dict(model.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in texts:
        inputs = tokenizer(text, return_tensors="pt")
        if getattr(plain.config, "type_vocab_size", 2) < 2:
            inputs.pop("token_type_ids", None)
        with torch.no_grad():
            rows.append(plain(**inputs).logits[0])
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_scores_of_padded_batches_are_those_of_one_text_alone(name: str, folders: dict[str, Path]) -> None:
    model, split = load(folders[name]), split_of(folders[name])
    wanted = plain_logits(folders[name], model)
    assert wanted.std(0).max() > 1e-4, "the rows have to differ"
    np.testing.assert_allclose(predict(model, split, 1)[0], wanted, atol=1e-4)
    # other neighbours, and other lengths to pad to
    end = model.config.eos_token_id if model.config.is_encoder_decoder else None  # type: ignore[union-attr]
    for fill in sorted({int(split.ids[0, -1]), 0, 1, 5} - {end}):
        rows = [row[:n].tolist() for row, n in zip(split.ids, split.lengths, strict=True)]
        ids, lengths = pad_rows([*rows, [5] * 24], fill)
        mask = torch.from_numpy(np.arange(24)[None, :] < lengths[:, None]).long()
        for order in (list(range(len(rows))), list(range(0, len(rows), 2))):
            with torch.no_grad():
                logits = model(input_ids=ids.long()[order], attention_mask=mask[order]).logits
            np.testing.assert_allclose(logits.numpy(), wanted[order], atol=1e-4, err_msg=f"fill {fill}")


@pytest.mark.parametrize("name", sorted(CAUSAL))
def test_left_padding_with_positions_gives_the_same_scores(name: str, folders: dict[str, Path]) -> None:
    model, split = load(folders[name]), split_of(folders[name])
    wanted = plain_logits(folders[name], model)
    longest = split.ids.shape[1]
    gaps = longest - torch.from_numpy(split.lengths)
    places = torch.arange(longest)[None, :] - gaps[:, None]
    inputs = {"input_ids": split.ids.long().gather(1, places % longest), "attention_mask": (places >= 0).long()}
    if name not in ("opt", "bloom"):  # these count positions by the mask
        inputs["position_ids"] = places.clamp(min=0)
    with torch.no_grad():
        np.testing.assert_allclose(model(**inputs).logits.numpy(), wanted, atol=1e-4)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_gradients_do_not_depend_on_the_rows_beside(name: str, folders: dict[str, Path]) -> None:
    model, split = load(folders[name]), split_of(folders[name])
    weight = next(p for p in model.get_input_embeddings().parameters())  # type: ignore[operator]

    def gradient(rows: list[int], longest: int) -> Tensor:
        weight.grad = None
        weight.requires_grad_(True)
        batch = split.gather(torch.tensor(rows), (longest,))
        model(**batch).logits[0].sum().backward()
        assert weight.grad is not None
        return weight.grad.clone()

    alone = gradient([0], int(split.lengths[0]))
    torch.testing.assert_close(gradient([0, 1, 2], int(split.lengths.max())), alone, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    ("method", "name"),
    [
        *[("prompt", name) for name in ("llama", "gpt2", "opt", "qwen2", "bert", "roberta")],
        *[("prefix", name) for name in ("llama", "bert", "roberta")],
    ],
)
def test_virtual_tokens_do_not_move_the_pooled_position(method: str, name: str, tmp_path: Path) -> None:
    heads = {"num_key_value_heads": 4} if name == "llama" else {}
    folder = build_family(name, tmp_path, **heads)
    model, split = load_model(source_of(folder), 2), split_of(folder)
    made: Any = METHODS.get(method)(tokens=3)
    attached = made.attach(model, [Member(made, Streams(equal(0)))], build_calibration(split, compute_replica_losses))
    whole = attached.model
    assert whole is not None
    together = predict(whole, split, 1)[0]
    with torch.no_grad():
        alone = [whole(**split.batch(np.array([row]))).logits[0].numpy() for row in range(len(split))]
    assert together.std(0).max() > 1e-4
    np.testing.assert_allclose(together, np.stack(alone), atol=1e-5)


def test_a_pad_token_at_odds_with_the_config_is_no_matter(tmp_path: Path) -> None:
    """Issue 17: config.json pads with 0, the tokenizer with 2."""
    folder = build_family("llama", tmp_path, pad_token_id=0)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"pad_token": "</s>"}))
    assert load_tokenizer(source_of(folder)).pad_token_id == 2
    model = load(folder)
    np.testing.assert_allclose(predict(model, split_of(folder), 1)[0], plain_logits(folder, model), atol=1e-4)


@pytest.mark.parametrize("name", NO_PAD)
def test_a_tokenizer_without_a_pad_token_gets_one(name: str, folders: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(source_of(folders[name]))
    assert 0 <= tokenizer.pad_token_id < len(tokenizer)


def test_a_pad_token_beyond_the_embeddings_is_replaced(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = build_family("llama", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    assert tokenizer.pad_token_id == rows
    assert load_tokenizer(source_of(folder)).pad_token_id < rows
    model = load(folder)
    logits = predict(model, split_of(folder, TEXTS), 1)[0]
    np.testing.assert_allclose(logits, plain_logits(folder, model, TEXTS), atol=1e-4)


@pytest.mark.parametrize("name", ["roberta", "t5", "opt", "llama", "bert", "qwen2"])
def test_tokens_added_beyond_the_embeddings_are_refused(name: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = build_family(name, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    tokenizer.add_tokens(["<emoji>", "@user"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(UserError, match=f"<emoji>.*{rows}") as caught:
        load_tokenizer(source_of(folder))
    assert "\n" not in str(caught.value)


def test_a_config_whose_pad_token_has_no_embedding_is_one_line(tmp_path: Path) -> None:
    folder = build_family("llama", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": config["vocab_size"]}))
    for call in (load_tokenizer, lambda s: load_skeleton(s, 2), lambda s: load_model(s, 2)):
        with pytest.raises(UserError, match="pad_token_id") as caught:
            call(source_of(folder))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(set(CAUSAL) - {"gemma3"}))
def test_written_texts_do_not_depend_on_the_prompts_beside(name: str, folders: dict[str, Path]) -> None:
    """Prompts are padded on the left; against transformers' generate of one unpadded prompt."""
    source = source_of(folders[name])
    model, tokenizer = load_model(source, None).eval(), load_tokenizer(source)
    task = Task("en-ro", (), ("test",), ("bleu",), kind="translation")
    rules = protocol(max_length=40, max_target_length=6)
    rows = [Example(str(i), (text,), "x") for i, text in enumerate(TEXTS)]
    split = build_causal_rows(tokenizer, model.config, task, rows, rules, train=False)
    texts = generate_texts(model, split, 1, tokenizer, rules, autocast=False)[0]
    for row, text in enumerate(texts):
        ids = split.ids[row : row + 1, : split.starts[row]].long()
        own = model.generate(  # type: ignore[operator]
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=6,
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        alone = tokenizer.decode(own[0, ids.shape[1] :], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert text == " ".join(alone.split())


def test_a_text_with_a_pad_token_beyond_the_embeddings_is_one_line(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    folder = build_family("llama", tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    tokenizer.save_pretrained(folder)
    task = Task("t", ("a", "b"), ("validation",), ("accuracy",))
    rows = (Example("0", ("the film [PAD]",), 0), Example("1", ("good",), 1))
    fine = TaskData({"train": rows[1:], "validation": rows[1:]}, "x", "file")
    read_inputs(load_tokenizer(source_of(folder)), task, fine, protocol(max_length=20))
    with pytest.raises(UserError, match=r"\[PAD\]") as caught:
        data = TaskData({"train": rows[1:], "validation": rows}, "x", "file")
        read_inputs(load_tokenizer(source_of(folder)), task, data, protocol(max_length=20))
    assert "\n" not in str(caught.value)


def test_a_model_that_reads_padding_is_refused(tmp_path: Path) -> None:
    """ConvBERT's convolutions reach over the end of a text."""
    from transformers import ConvBertConfig, ConvBertModel

    folder = build_family("bert", tmp_path)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ConvBertModel(ConvBertConfig(vocab_size=64, embedding_size=32, initializer_range=0.2, **sizes))
    model.save_pretrained(folder)
    with pytest.raises(UserError, match="padding"):
        load_model(source_of(folder), 2)
