"""Saved adapters of language models and of three classes, by peft's AutoPeft classes alone; parts that a base lacks."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForMaskedLM

from harness.cli.main import main
from harness.core.errors import CellFailed
from harness.core.method import Exported
from harness.core.record import Record
from harness.core.store import Store
from harness.models.adapter_save import add_drawn_parameters

WORDS = "good bad film plot actor slow fast story".split()


def base(folder: Path, *, pooler: bool = False) -> Path:
    """A BERT saved from its masked language model, which has no pooler."""
    from tests.harness.language import save_model

    save_model(folder, "t5")  # its tokenizer
    config = BertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        initializer_range=0.2,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertForMaskedLM(config).save_pretrained(folder)
    assert not any("pooler" in name for name in load_file(folder / "model.safetensors"))
    return folder


def run(folder: Path, model: Path, *words: str) -> dict[str, Record]:
    """Three classes, of the words of the translation tests."""
    texts = ["the cat sees", "the dog", "the bird sings well", "now the cat", "sleeps the dog", "well the bird"] * 3
    names = ["low", "mid", "high"]
    frame = pd.DataFrame({"text": texts, "label": [names[i % 3] for i in range(len(texts))]})
    frame.to_csv(folder / "rows.csv", index=False)
    files = ["--data-file", f"{folder}/rows.csv", "--data-file", f"rows/validation={folder}/rows.csv"]
    common = "--text text --label label --seeds 1 --max-steps 4 --max-length 16 --no-profile --save-adapters"
    out = folder / "out"
    start = ["run", "--suite", "table", *files, *common.split(), "--model", str(model), "--out", str(out), *words]
    assert main([*start, "--formats", "csv", "--figures", ""]) == 0
    return Store(out).read()[0]


def logits(model: Any, tokenizer: Any, texts: list[str]) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack([model.eval()(**tokenizer(text, return_tensors="pt")).logits[0] for text in texts])


@pytest.mark.slow
def test_three_classes_need_no_number_and_a_drawn_pooler_is_in_the_adapter(tmp_path: Path) -> None:
    model = base(tmp_path / "base")
    records = run(tmp_path, model, "--methods", "lora:rank=2,lora:rank=2,target=dense,dora:rank=2,ia3,prompt:tokens=2")
    frame = pd.read_csv(tmp_path / "rows.csv")
    tokenizer = AutoTokenizer.from_pretrained(model)
    wanted_names = sorted(set(frame["label"]))
    assert len(records) == 5
    for key, record in records.items():
        assert record.adapter is not None and record.status == "ok"
        folder = tmp_path / "out" / record.adapter.path
        assert "base" not in str(json.loads((folder / "adapter_config.json").read_text()).get("task_type")).lower()
        assert list(AutoConfig.from_pretrained(folder).id2label.values()) == wanted_names
        wanted = torch.tensor(pd.read_parquet(tmp_path / "out" / "cells" / f"{key}.parquet")["logits"].tolist())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for seed in (1, 2):  # what is drawn while loading has no part in the result
                torch.manual_seed(seed)
                loaded = peft.AutoPeftModelForSequenceClassification.from_pretrained(str(folder))
                assert list(loaded.config.id2label.values()) == wanted_names
                theirs = logits(loaded, tokenizer, list(frame["text"]))
                torch.testing.assert_close(theirs, wanted, rtol=0, atol=1e-5)
        if record.cell.method != "prompt":
            merged = tmp_path / f"merged-{key}"
            assert main(["merge", str(folder), "--model", str(model), "--out", str(merged)]) == 0
            plain = AutoModelForSequenceClassification.from_pretrained(merged)
            assert list(plain.config.id2label.values()) == wanted_names
            torch.testing.assert_close(logits(plain, tokenizer, list(frame["text"])), wanted, rtol=0, atol=1e-5)


def test_a_run_starts_from_adapters_that_hold_a_drawn_pooler(tmp_path: Path) -> None:
    model = base(tmp_path / "base")
    (first,) = run(tmp_path, model, "--methods", "lora:rank=2").values()
    assert first.adapter is not None
    adapter = shutil.copytree(tmp_path / "out" / first.adapter.path, tmp_path / "edited")
    moved = load_file(adapter / "adapter_model.safetensors")
    names = [name for name in moved if "pooler" in name]
    assert len(names) == 2
    save_file({n: v + 0.5 if n in names else v for n, v in moved.items()}, adapter / "adapter_model.safetensors")
    assert main(["report", str(tmp_path / "out")]) == 0
    again = run(tmp_path, model, "--methods", "lora:rank=2", "--init-from", str(adapter), "--lr", "1e-6")
    (second,) = [r for r in again.values() if r.cell.initial is not None]
    assert second.adapter is not None
    after = load_file(tmp_path / "out" / second.adapter.path / "adapter_model.safetensors")
    for name in names:  # used, and in the new adapter again
        torch.testing.assert_close(after[name], moved[name] + 0.5, rtol=0, atol=1e-6)


def test_a_pair_in_a_drawn_part_is_added_to_it_and_others_are_refused() -> None:
    drawn = {"bert.pooler.dense.weight": torch.eye(3), "bert.pooler.dense.bias": torch.zeros(3)}
    a, b = torch.randn(2, 3), torch.randn(3, 2)
    prefix = "base_model.model."
    tensors = {f"{prefix}bert.pooler.dense.lora_{n}.weight": v for n, v in (("A", a), ("B", b))}
    tensors |= {f"{prefix}x.dense.lora_{n}.weight": v for n, v in (("A", a), ("B", b))}
    config = peft.LoraConfig(r=2, lora_alpha=6, target_modules=["bert.pooler.dense", "x.dense"])
    made = add_drawn_parameters(Exported(config, tensors), drawn)
    torch.testing.assert_close(made.tensors[f"{prefix}bert.pooler.dense.weight"], torch.eye(3) + 3 * b @ a)
    assert list(made.config.target_modules) == ["x.dense"] and made.config.modules_to_save == ["bert.pooler.dense"]
    assert not [name for name in made.tensors if "pooler" in name and "lora" in name]
    with pytest.raises(CellFailed):
        add_drawn_parameters(Exported(peft.IA3Config(), {f"{prefix}bert.pooler.dense.ia3_l": a}), drawn)


@pytest.mark.parametrize(("kind", "task_type"), [("t5", "SEQ_2_SEQ_LM"), ("llama", "CAUSAL_LM")])
def test_adapters_of_language_models_say_so(kind: str, task_type: str) -> None:
    from harness.core.method import METHODS
    from tests.harness.language import make_model, protocol, rows, trainer

    for name in ("lora", "dora", "ia3", *(("prompt",) if kind == "llama" else ())):
        model = make_model(kind, dtype=torch.float32, width=32)
        method = METHODS.get(name)()
        _, attached = trainer(model, [method], [protocol()], [0], rows(kind))
        exported = method.export(model, attached, 0)
        assert exported.config.task_type == task_type and not exported.config.modules_to_save


def test_merge_refuses_a_tensor_that_peft_drops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = base(tmp_path / "base")
    (record,) = run(tmp_path, model, "--methods", "lora:rank=2").values()
    assert record.adapter is not None
    adapter = shutil.copytree(tmp_path / "out" / record.adapter.path, tmp_path / "edited")
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file(
        tensors | {"base_model.model.bert.nowhere.lora_A.weight": torch.zeros(2, 2)},
        adapter / "adapter_model.safetensors",
    )
    assert main(["merge", str(adapter), "--model", str(model), "--out", str(tmp_path / "merged")]) == 2
    assert "nowhere" in capsys.readouterr().err and not (tmp_path / "merged").exists()
