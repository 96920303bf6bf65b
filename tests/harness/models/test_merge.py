"""A merged model is the base with its adapter: the same logits from transformers alone."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from harness.cli.main import main
from harness.core.spec_reading import make_spec
from harness.planning.plan import make_plan
from tests.harness.core.files import limit_files
from tests.harness.runner.test_run import go

ENCODER = make_plan(make_spec({"tasks": ("rte",), "seeds": "1"})).cells[0].source.path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one adapter of each kind of merge."""
    out = tmp_path_factory.mktemp("run")
    go(out, methods="lorasp,pissa,dora,prompt", seeds="1", save_adapters=True)
    return out


def of(out: Path, method: str) -> Path:
    from harness.core.store import Store

    key = next(k for k, r in Store(out).read()[0].items() if r.cell.method == method)
    return out / "adapters" / key


def logits(model: torch.nn.Module) -> torch.Tensor:
    ids = torch.randint(5, 200, (6, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return found


@pytest.mark.parametrize("method", ["lorasp", "pissa", "dora"])
def test_merged_logits_are_those_of_base_and_adapter(method: str, trained: Path, tmp_path: Path) -> None:
    adapter, out = of(trained, method), tmp_path / "merged"
    shutil.copytree(ENCODER, tmp_path / "base")
    config = tmp_path / "base" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"attention_probs_dropout_prob": 0.25}))
    assert main(["merge", str(adapter), "--model", str(tmp_path / "base"), "--out", str(out)]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base, untouched = (AutoModelForSequenceClassification.from_pretrained(ENCODER, num_labels=2) for _ in "ab")
    wanted = logits(peft.PeftModel.from_pretrained(base, str(adapter)))
    assert AutoConfig.from_pretrained(out).attention_probs_dropout_prob == 0.25
    merged = AutoModelForSequenceClassification.from_pretrained(out)
    torch.testing.assert_close(logits(merged), wanted, rtol=0, atol=1e-5)
    name = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(merged.bert.get_parameter(name), untouched.bert.get_parameter(name))
    assert (
        AutoTokenizer.from_pretrained(out)("a b")["input_ids"]
        == AutoTokenizer.from_pretrained(ENCODER)("a b")["input_ids"]
    )


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["merge", *words]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def test_what_cannot_be_merged_says_so(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["--model", str(ENCODER), "--out", str(tmp_path / "new")]
    assert "virtual tokens" in refused(capsys, str(of(trained, "prompt")), *base)
    assert "no readable adapter_config.json" in refused(capsys, str(tmp_path / "absent"), *base)
    shutil.copytree(of(trained, "lorasp"), tmp_path / "broken")
    (tmp_path / "broken" / "adapter_model.safetensors").write_bytes(b"x")
    assert "adapter_model.safetensors cannot be read" in refused(capsys, str(tmp_path / "broken"), *base)
    full = ["--model", str(ENCODER), "--out", str(trained)]
    assert "give a new folder" in refused(capsys, str(of(trained, "lorasp")), *full)
    assert not (tmp_path / "new").exists()


def test_a_quantized_base_is_refused(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quantized = tmp_path / "base"
    shutil.copytree(ENCODER, quantized)
    config = (quantized / "config.json").read_text()
    (quantized / "config.json").write_text(config.replace("{", '{"quantization_config": {"load_in_4bit": true},', 1))
    out = ["--out", str(tmp_path / "new")]
    said = refused(capsys, str(of(trained, "lorasp")), "--model", str(quantized), *out)
    assert "its weights are quantized" in said
    go(tmp_path / "sim", methods="lora", seeds="1", save_adapters=True, quantize=("sim3",))
    said = refused(capsys, str(of(tmp_path / "sim", "lora")), "--model", str(ENCODER), *out)
    assert "quantize=sim3" in said


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"r": 10**9}, "rank 1000000000"),
        ({"rank_pattern": {"query": 10**9}}, "rank 1000000000"),
        ({"use_dora": True}, "lora_magnitude_vector, which its file lacks"),
        ({"lora_bias": True}, "which its file lacks"),
        ({"layer_replication": [[0, 2], [1, 3]]}, "layer_replication"),
        ({"modules_to_save": 5}, "does not fit"),
        ({"target_modules": [["query"]]}, "does not fit"),
    ],
)
def test_a_config_that_asks_for_more_than_the_file_holds_is_refused(
    change: dict[str, object], says: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """peft would draw or allocate what is not there, and the merged model be another one."""
    adapter = tmp_path / "a"
    shutil.copytree(of(trained, "lorasp"), adapter)
    config = adapter / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    assert says in refused(capsys, str(adapter), "--model", str(ENCODER), "--out", str(tmp_path / "new"))
    assert not (tmp_path / "new").exists()


def test_weights_that_are_not_finite_are_not_written(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter = tmp_path / "a"
    shutil.copytree(of(trained, "lorasp"), adapter)
    path = adapter / "adapter_model.safetensors"
    save_file({name: value * 1e36 for name, value in load_file(path).items()}, path)
    said = refused(capsys, str(adapter), "--model", str(ENCODER), "--out", str(tmp_path / "new"))
    assert "is not finite" in said and not (tmp_path / "new").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with limit_files(60_000):
        said = refused(
            capsys, str(of(trained, "lorasp")), "--model", str(ENCODER), "--out", str(tmp_path / "a" / "new")
        )
    assert "cannot write there" in said and list((tmp_path / "a").iterdir()) == []


@pytest.mark.parametrize("content", ["[1]", "{", "[" * 100_000])
def test_a_base_whose_config_is_no_object_is_one_line(
    content: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ENCODER, tmp_path / "base")
    (tmp_path / "base" / "config.json").write_text(content)
    words = (str(of(trained, "lorasp")), "--model", str(tmp_path / "base"), "--out", str(tmp_path / "new"))
    assert "config.json" in refused(capsys, *words)
