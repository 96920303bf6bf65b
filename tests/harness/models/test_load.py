"""Encoders of several shapes: what the LoRA family needs of them, and clear refusals."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BertConfig, DebertaV2Config, DistilBertConfig, PreTrainedConfig, RobertaConfig

from harness.core.cell import ModelRef
from harness.core.errors import UserError
from harness.core.method import METHODS, Member
from harness.core.presets import get_preset
from harness.core.seeds import Streams, equal
from harness.data.task_types.classification import compute_replica_losses
from harness.models.load import load_model, load_skeleton, load_tokenizer
from harness.models.source import ModelSource, resolve
from harness.training.pack_setup import build_calibration
from tests.harness.small_training import protocol, rows, train, trainer

SHAPE = {"vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
CONFIGS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**SHAPE),
    "roberta": RobertaConfig(**SHAPE, pad_token_id=1),
    "deberta": DebertaV2Config(**SHAPE, relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=8),
    "distilbert": DistilBertConfig(vocab_size=60, dim=32, n_layers=2, n_heads=4, hidden_dim=48),
}


def saved(config: PreTrainedConfig, folder: Path, dtype: torch.dtype = torch.float32) -> ModelSource:
    """A random encoder without a head, as a folder."""
    from transformers import AutoModel

    torch.manual_seed(0)
    AutoModel.from_config(config).to(dtype).save_pretrained(folder)
    return ModelSource("made", folder, ModelRef(name="made", revision="x"), "as stored", stand_in=False)


@pytest.mark.parametrize("name", CONFIGS)
def test_lora_trains_on_each_shape_of_encoder(name: str, tmp_path: Path) -> None:
    source = saved(CONFIGS[name], tmp_path)
    model = load_model(source, 2)
    method = METHODS.get("lorasp")(rank=4)
    method.fits(load_skeleton(source, 2))
    before = {n: p.clone() for n, p in model.named_parameters()}
    made, attached = trainer(model, [method], [protocol(max_steps=30)], [0], rows(count=16))
    losses = train(made)
    assert losses[-1] < losses[0]
    assert attached.count("adapter", 0) == 2 * 2 * (32 * 4 + 4 * 32) // 2  # layers, sites, A and B, half
    inside = {n.replace(".base.", "."): p for n, p in model.named_parameters()}
    assert inside and all(torch.equal(p, before[n]) for n, p in inside.items())


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_and_neighbours_do_not_move_a_row(name: str, tmp_path: Path) -> None:
    model = load_model(saved(CONFIGS[name], tmp_path), 2).eval()
    split = rows(count=8)
    shortest = int(split.lengths.argmin())
    with torch.no_grad():
        together = model(**split.batch(torch.arange(8).numpy())).logits[shortest]
        alone = model(**split.batch(torch.tensor([shortest]).numpy())).logits[0]
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_fresh_head_is_the_same_each_time_and_the_global_generator_stays(tmp_path: Path) -> None:
    source = saved(CONFIGS["bert"], tmp_path)
    torch.manual_seed(1)
    state = torch.random.get_rng_state()
    first = load_model(source, 3)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(2)
    again = load_model(source, 3)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_attention_probabilities_are_not_dropped(tmp_path: Path) -> None:
    source = saved(CONFIGS["bert"], tmp_path)
    assert load_model(source, 2).config.attention_probs_dropout_prob == 0.0  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"attention_dropout=0.1: allowed: 0"):
        load_model(source, 2, attention_dropout=0.1)


def test_half_precision_weights_load_as_float32_or_bf16(tmp_path: Path) -> None:
    source = saved(CONFIGS["bert"], tmp_path, torch.float16)
    assert {p.dtype for p in load_model(source, 2).parameters()} == {torch.float32}
    assert {p.dtype for p in load_model(source, 2, dtype="bf16").parameters()} == {torch.bfloat16}
    full = load_model(source, 2, dtype="bf16", trained_backbone=True)
    assert {p.dtype for p in full.parameters()} == {torch.float32} and all(p.requires_grad for p in full.parameters())


def test_a_model_that_is_no_classifier_is_one_line(tmp_path: Path) -> None:
    source = saved(CONFIGS["bert"], tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-kind"}))
    for load in (lambda: load_skeleton(source, 2), lambda: load_model(source, 2)):
        with pytest.raises(UserError, match="model 'made'") as caught:
            load()
        assert "\n" not in str(caught.value)


def test_weights_that_do_not_load_are_one_line(tmp_path: Path) -> None:
    source = saved(CONFIGS["bert"], tmp_path)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:1000])
    with pytest.raises(UserError, match="does not load as a classifier: SafetensorError"):
        load_model(source, 2)
    file.write_bytes(whole)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"intermediate_size": 7}))
    with pytest.raises(UserError, match="other shapes than its config") as caught:
        load_model(source, 2)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_that_does_not_load_is_one_line(tmp_path: Path) -> None:
    source = saved(CONFIGS["bert"], tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="its tokenizer does not load") as caught:
        load_tokenizer(source)
    assert "\n" not in str(caught.value)


def test_a_model_that_knows_one_kind_of_text_is_given_no_second() -> None:
    pair = ("a film", "a play")
    for name, types in (("shape:roberta-base", False), ("shape:minilm", True)):
        made = load_tokenizer(resolve(get_preset("quick"), "glue", name))(*pair)
        assert ("token_type_ids" in made) == types and len(made["input_ids"]) > 6, name


def test_a_tokenizer_of_another_model_is_one_line(tmp_path: Path) -> None:
    source = saved(CONFIGS["bert"], tmp_path)
    load_tokenizer(resolve(get_preset("quick"), "glue", None)).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="its tokenizer has 399 tokens and its embeddings 60; save the") as caught:
        load_tokenizer(source)
    assert "\n" not in str(caught.value)


def test_the_embedded_encoder_packs_as_it_trains_alone() -> None:
    source = resolve(get_preset("quick"), "glue", None)
    model = load_model(source, 2)
    assert model.num_labels == 2 and sum(p.numel() for p in model.parameters()) * 4 < 2 * 2**20
    method: Any = METHODS.get("lora")()
    attached = method.attach(
        model, [Member(method, Streams(equal(s))) for s in (0, 1)], build_calibration(rows(), compute_replica_losses)
    )
    assert attached.group("adapter").theta.shape == (2, 3 * 2 * 16 * (64 + 64))


def changed(folder: Path, **fields: Any) -> ModelSource:
    """The embedded encoder with other fields in its config.json."""
    shutil.copytree(resolve(get_preset("quick"), "glue", None).path, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return resolve(get_preset("quick"), "glue", str(folder))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_size", 0),
        ("hidden_size", -1),
        ("hidden_size", 10**400),
        ("num_hidden_layers", 10**9),
        ("num_labels", 10**9),
        ("num_attention_heads", 0),
        ("num_attention_heads", -1),
        ("max_position_embeddings", 10**9),
        ("dtype", 5),
        ("attn_implementation", [1]),
        ("return_dict", False),
        ("chunk_size_feed_forward", "x"),
    ],
)
def test_nonsense_in_a_config_is_one_line_and_quick(field: str, value: Any, tmp_path: Path) -> None:
    """What transformers raises of it differs from field to field."""
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        source = changed(tmp_path / "model", **{field: value})
        load_skeleton(source, 2)
        load_model(source, 2)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    assert time.monotonic() - began < 20


def test_several_tokens_may_end_a_text(tmp_path: Path) -> None:
    """As in the configuration of Llama 3."""
    load_model(changed(tmp_path / "model", eos_token_id=[5, 6, 7]), 2)
