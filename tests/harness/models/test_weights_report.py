"""What a weights file lacks or has beyond the config is refused by name; what is drawn at random is named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.core.cell import ModelRef
from harness.core.errors import UserError
from harness.core.presets import get_preset
from harness.models.load import load_model, load_skeleton
from harness.models.source import ModelSource, resolve
from harness.models.weights_report import describe_drawn_parameters, list_drawn_parameters
from tests.harness.families import build_family

Weights = dict[str, Tensor]


def source_of(folder: Path) -> ModelSource:
    return ModelSource("made", folder, ModelRef(name="made", revision="x"), "as stored", stand_in=False)


def rewrite(folder: Path, change: Callable[[Weights], Weights]) -> None:
    weights = change(load_file(folder / "model.safetensors"))
    save_file({k: v.contiguous().clone() for k, v in weights.items()}, folder / "model.safetensors", {"format": "pt"})


def set_config(folder: Path, **fields: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def refusal(folder: Path, outputs: int | None) -> str:
    """The one line that both the check before a run and loading itself raise."""
    lines = []
    for load in (load_skeleton, load_model):
        with pytest.raises(UserError) as caught:
            load(source_of(folder), outputs)
        lines.append(str(caught.value))
        assert "\n" not in lines[-1]
    assert lines[0] == lines[1]
    return lines[0]


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "_orig_mod.module.", "base_model.model."])
@pytest.mark.parametrize("name", ["bert-pooled", "llama", "roberta", "t5"])
def test_a_prefix_of_all_names_is_refused_by_name(name: str, prefix: str, tmp_path: Path) -> None:
    folder = build_family(name, tmp_path)
    rewrite(folder, lambda weights: {prefix + key: value for key, value in weights.items()})
    assert prefix in refusal(folder, 2)


def test_more_layers_in_the_config_than_in_the_file_are_refused(tmp_path: Path) -> None:
    folder = build_family("bert-pooled", tmp_path)
    set_config(folder, num_hidden_layers=3)
    line = refusal(folder, 2)
    assert re.search(r"asks for 3 layers, the file has 2\b", line) and "encoder.layer.2." in line


@pytest.mark.parametrize(
    ("name", "field", "layer"),
    [
        ("bert-pooled", "num_hidden_layers", "encoder.layer.1."),
        ("bert", "num_hidden_layers", "encoder.layer.1."),
        ("llama", "num_hidden_layers", "layers.1."),
        ("distilbert", "n_layers", "transformer.layer.1."),
        ("gpt2", "n_layer", "h.1."),
        ("t5", "num_layers", "block.1."),
    ],
)
def test_fewer_layers_in_the_config_than_in_the_file_are_refused(
    name: str, field: str, layer: str, tmp_path: Path
) -> None:
    folder = build_family(name, tmp_path)
    set_config(folder, **{field: 1})
    assert layer in refusal(folder, 2)


def test_a_bias_that_the_config_leaves_out_is_refused(tmp_path: Path) -> None:
    folder = build_family("llama", tmp_path, attention_bias=True)
    set_config(folder, attention_bias=False)
    assert "self_attn.k_proj.bias" in refusal(folder, 2)


@pytest.mark.parametrize("lost", ["embed_tokens.weight", "layers.1.mlp.up_proj.weight", "model.norm.weight"])
def test_a_single_weight_that_is_missing_is_refused(lost: str, tmp_path: Path) -> None:
    folder = build_family("llama", tmp_path)
    rewrite(folder, lambda weights: {key: value for key, value in weights.items() if not key.endswith(lost)})
    assert lost in refusal(folder, 2)


def test_a_shard_left_out_of_the_index_is_refused(tmp_path: Path) -> None:
    from transformers import AutoModel

    folder = build_family("bert-pooled", tmp_path / "whole")
    shards = tmp_path / "shards"
    AutoModel.from_pretrained(folder).save_pretrained(shards, max_shard_size="30KB")
    index = shards / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    last = max(content["weight_map"].values())
    lost = sorted(key for key, file in content["weight_map"].items() if file == last)
    content["weight_map"] = {key: file for key, file in content["weight_map"].items() if file != last}
    assert lost and content["weight_map"]
    load_model(source_of(shards), 2)
    index.write_text(json.dumps(content))
    (shards / last).unlink()
    assert any(name in refusal(shards, 2) for name in lost)


def test_a_language_model_without_its_untied_head_is_refused(tmp_path: Path) -> None:
    folder = build_family("llama", tmp_path)
    load_model(source_of(folder), None)
    rewrite(folder, lambda weights: {key: value for key, value in weights.items() if key != "lm_head.weight"})
    assert "lm_head.weight" in refusal(folder, None)
    assert list_drawn_parameters(load_model(source_of(folder), 2)) == ()  # no classifier reads it


@pytest.mark.parametrize("name", ["qwen2", "gpt2", "t5", "bart", "bloom"])
def test_tied_heads_are_not_missing(name: str, tmp_path: Path) -> None:
    folder = build_family(name, tmp_path)
    assert list_drawn_parameters(load_model(source_of(folder), None)) == ()


@pytest.mark.parametrize(
    ("name", "drawn"),
    [
        ("bert", ("bert.pooler.dense.bias", "bert.pooler.dense.weight")),
        ("albert", ("albert.pooler.bias", "albert.pooler.weight")),
        *[(name, ()) for name in ("bert-pooled", "roberta", "distilbert", "electra", "deberta-v2", "modernbert")],
        *[(name, ()) for name in ("bart", "t5", "llama", "qwen2", "gpt2", "neox")],
    ],
)
def test_only_a_pooler_is_drawn_and_the_same_each_time(name: str, drawn: tuple[str, ...], tmp_path: Path) -> None:
    source = source_of(build_family(name, tmp_path))
    torch.manual_seed(1)
    first, names = load_model(source, 2), list_drawn_parameters(load_skeleton(source, 2))
    torch.manual_seed(2)
    again = load_model(source, 3)
    assert names == list_drawn_parameters(first) == list_drawn_parameters(again) == drawn
    assert all(torch.equal(first.get_parameter(each), again.get_parameter(each)) for each in drawn)
    assert bool(describe_drawn_parameters(first)) == bool(drawn)


def test_weights_in_half_precision_lack_nothing(tmp_path: Path) -> None:
    folder = build_family("bert-pooled", tmp_path)
    rewrite(folder, lambda weights: {key: value.half() for key, value in weights.items()})
    assert list_drawn_parameters(load_model(source_of(folder), 2)) == ()


def test_a_head_of_another_width_is_refused_before_the_run(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    folder = build_family("bert-pooled", tmp_path)
    AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3).save_pretrained(folder)
    line = refusal(folder, 2)
    assert "classifier" in line and "[3]" in line and "[2]" in line
    assert load_model(source_of(folder), 3).num_labels == 3


@pytest.mark.parametrize("outputs", [2, None])
def test_no_code_of_a_model_folder_runs(outputs: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers would ask on the terminal whether to run it, and `yes |` would answer."""
    folder = build_family("llama", tmp_path)
    ran = tmp_path / "ran"
    (folder / "code.py").write_text(f"open({str(ran)!r}, 'w')\nclass Config: pass\n")
    classes = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Config", "AutoTokenizer": "code.Config"}
    set_config(folder, model_type="unheard-of", auto_map=classes)
    monkeypatch.setattr("builtins.input", lambda *text: "y")
    refusal(folder, outputs)
    assert not ran.exists()


def test_a_folder_with_an_adapter_is_no_base(tmp_path: Path) -> None:
    """transformers would load the adapter with it, or the base that the adapter names."""
    folder = build_family("bert-pooled", tmp_path)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": "other"}))
    with pytest.raises(UserError, match="adapter"):
        resolve(get_preset("quick"), "glue", str(folder))
