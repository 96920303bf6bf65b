"""Files of adapters, peft's and microsoft/LoRA's, read and started from; against peft and a computation by hand."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import RobertaConfig, RobertaForSequenceClassification

from harness.core.errors import UserError
from harness.core.method import METHODS, Member
from harness.core.seeds import Streams, equal
from harness.data.task_types.classification import compute_replica_losses
from harness.models.adapter_load import load_initial
from harness.models.adapter_source import AdapterSource, resolve_init_from
from harness.training.pack_setup import build_calibration
from tests.harness.planning.test_plan import cells
from tests.harness.small_training import rows

BATCH = rows(seed=1).batch(torch.arange(10).numpy())


def roberta(outputs: int = 3) -> Any:
    """The same random two-layer RoBERTa each time."""
    config = RobertaConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=outputs,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = RobertaForSequenceClassification(config)
    return model.double().requires_grad_(False).eval()


def microsoft() -> dict[str, Tensor]:
    """Rank 4 at query and value, and a head of three classes, named as that repository's files are."""
    made = torch.Generator().manual_seed(1)
    found = {}
    for layer in range(2):
        for part in ("query", "value"):
            path = f"roberta.encoder.layer.{layer}.attention.self.{part}"
            found[f"{path}.lora_A"] = torch.randn(4, 32, generator=made) / 3
            found[f"{path}.lora_B"] = torch.randn(32, 4, generator=made) / 3
    for name, shape in (("dense.weight", (32, 32)), ("dense.bias", (32,)), ("out_proj.weight", (3, 32))):
        found[f"classifier.{name}"] = torch.randn(shape, generator=made) / 3
    return found | {"classifier.out_proj.bias": torch.randn(3, generator=made)}


def source(text: str) -> AdapterSource:
    return resolve_init_from(text)(cells()[0])


def started(text: str, model: Any, **options: Any) -> Tensor:
    """Our logits before the first step."""
    initial = load_initial(source(text))
    member = Member(METHODS.get("lora")(**options), Streams(equal(0)), 5, initial)
    member.method.attach(model, [member], build_calibration(rows(), compute_replica_losses))
    with torch.no_grad():
        logits: Tensor = model.eval()(**BATCH).logits
    return logits


@pytest.mark.parametrize(("tail", "alpha"), [("", 16.0), (":alpha=6", 6.0)])
def test_microsoft_layout_is_the_weight_plus_alpha_over_r_b_a(tail: str, alpha: float, tmp_path: Path) -> None:
    tensors = microsoft()
    torch.save(tensors, tmp_path / "mnli.bin")
    reference = roberta()
    for name, a in tensors.items():
        if name.endswith("lora_A"):
            weight = reference.get_submodule(name.removesuffix(".lora_A")).weight
            weight += alpha / 4 * tensors[name.replace("lora_A", "lora_B")].double() @ a.double()
    reference.load_state_dict({n: v.double() for n, v in tensors.items() if "lora_" not in n}, strict=False)
    wanted = reference(**BATCH).logits
    assert float((wanted - roberta()(**BATCH).logits).abs().max()) > 0.1
    torch.testing.assert_close(started(f"{tmp_path}/mnli.bin{tail}", roberta(), rank=4), wanted, rtol=0, atol=1e-10)


def test_of_a_head_what_fits_is_loaded(tmp_path: Path) -> None:
    torch.save(microsoft(), tmp_path / "mnli.bin")
    initial = load_initial(source(str(tmp_path / "mnli.bin")))
    method = METHODS.get("lora")(rank=4)
    assert method.fits_initial(roberta(2), initial) == ["classifier.out_proj"]
    model = roberta(2)
    group = method.attach(
        model, [Member(method, Streams(equal(0)), 5, initial)], build_calibration(rows(), compute_replica_losses)
    ).group("head")
    assert group is not None
    assert torch.equal(
        group.leaves["classifier.dense.weight"].tensor[0].float(), microsoft()["classifier.dense.weight"]
    )
    assert not group.leaves["classifier.out_proj.bias"].tensor.any()


@pytest.mark.parametrize("layout", ["safetensors", "bin", "rslora", "patterns"])
def test_a_folder_that_peft_saved_starts_as_peft_has_it(layout: str, tmp_path: Path) -> None:
    patterns = {"rank_pattern": {"value": 2}, "alpha_pattern": {"layer.1.attention.self.query": 5}}
    config = peft.LoraConfig(
        task_type="SEQ_CLS",
        r=4,
        lora_alpha=6,
        target_modules=["query", "value"],
        init_lora_weights=False,
        use_rslora=layout == "rslora",
        **(patterns if layout == "patterns" else {}),  # type: ignore[arg-type]
    )
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(3)
        wrapped = peft.get_peft_model(roberta(), config).double().eval()
        wrapped.save_pretrained(str(tmp_path))
    if layout == "bin":
        torch.save(load_file(tmp_path / "adapter_model.safetensors"), tmp_path / "adapter_model.bin")
        (tmp_path / "adapter_model.safetensors").unlink()
    with torch.no_grad():
        wanted = wrapped(**BATCH).logits
    torch.testing.assert_close(started(str(tmp_path), roberta(), rank=4), wanted, rtol=0, atol=1e-10)


def test_bin_of_peft_is_read_as_tensors_only(tmp_path: Path) -> None:
    class Runs:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    for content in ({"x.lora_A": Runs()}, Runs()):
        (tmp_path / "evil.bin").write_bytes(pickle.dumps(content))
        with pytest.raises(UserError, match=r"evil.bin cannot be read"):
            load_initial(source(str(tmp_path / "evil.bin")))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"classifier.weight": torch.zeros(2, 3)}, "no low-rank pair in it"),
        ({"a.query.lora_A": torch.zeros(2, 3)}, "a.query has only one of A and B"),
        ({"a.query.lora_E": torch.zeros(2, 3)}, "a.query.lora_E is no A or B"),
        ({"a.conv.lora_A": torch.zeros(2, 3, 1, 1)}, "a.conv.lora_A is no A or B"),
        ([torch.zeros(2)], "is no mapping of names to tensors"),
    ],
)
def test_what_is_no_adapter_is_refused(tensors: Any, says: str, tmp_path: Path) -> None:
    torch.save(tensors, tmp_path / "a.bin")
    with pytest.raises(UserError, match=says):
        load_initial(source(str(tmp_path / "a.bin")))


def test_layers_of_another_model_are_refused(tmp_path: Path) -> None:
    renamed = {n.replace("roberta", "bert"): v for n, v in microsoft().items()}
    torch.save(renamed, tmp_path / "a.bin")
    initial = load_initial(source(str(tmp_path / "a.bin")))
    with pytest.raises(UserError, match=r"has layer bert\.encoder\.layer\.0\.attention\.self\.query; allowed"):
        METHODS.get("lora")(rank=4).fits_initial(roberta(), initial)


def saved_by_peft(folder: Path, **fields: Any) -> Tensor:
    """The logits of a jittered adapter that peft saves in the folder."""
    start: dict[str, Any] = {"task_type": "SEQ_CLS", "r": 4, "lora_alpha": 6, "target_modules": ["query", "value"]}
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(3)
        wrapped = peft.get_peft_model(roberta().float(), peft.LoraConfig(**start | fields)).double().eval()
        with torch.no_grad():
            for name, value in wrapped.named_parameters():
                if "lora_" in name or "trainable_tokens" in name:
                    value += torch.randn(value.shape, dtype=torch.float64) / 5
        wrapped.save_pretrained(str(folder))
    with torch.no_grad():
        logits: Tensor = wrapped(**BATCH).logits
    return logits


@pytest.mark.parametrize(
    ("fields", "rank"),
    [
        ({"rank_pattern": {"layer.1.attention.self.value": 12}}, 12),
        ({"rank_pattern": {"query": 2, "value": 2}}, 4),
        ({"layers_to_transform": [1], "layers_pattern": "layer"}, 4),
        ({"exclude_modules": ["layer.0.attention.self.query"]}, 4),
        ({"target_modules": r".*self\.(query|value)", "alpha_pattern": {r".*layer\.0\..*": 64}}, 4),
        ({"init_lora_weights": "gaussian"}, 4),
    ],
)
def test_every_field_about_pairs_is_honoured_as_peft_does(fields: dict[str, Any], rank: int, tmp_path: Path) -> None:
    wanted = saved_by_peft(tmp_path, **fields)
    assert METHODS.get("lora")(rank=rank).fits_initial(roberta(), load_initial(source(str(tmp_path)))) == []
    torch.testing.assert_close(started(str(tmp_path), roberta(), rank=rank), wanted, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"trainable_token_indices": [3, 4]}, "trainable_token_indices"),
        ({"init_lora_weights": "pissa"}, "pissa"),
        ({"init_lora_weights": "olora"}, "olora"),
        ({"modules_to_save": ["word_embeddings", "classifier"]}, "word_embeddings"),
    ],
)
def test_what_peft_saves_beyond_pairs_is_refused_by_name(fields: dict[str, Any], says: str, tmp_path: Path) -> None:
    saved_by_peft(tmp_path, **fields)
    with pytest.raises(UserError, match=says):
        METHODS.get("lora")(rank=4).fits_initial(roberta(), load_initial(source(str(tmp_path))))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t | {"base_model.model.lm_head.weight": torch.zeros(2)}, "lm_head.weight"),
        (lambda t: t | {"base_model.model.classifier.original_module.dense.bias": torch.zeros(32)}, "original_module"),
        (lambda t: t | {f"{QUERY}.lora_A.default.weight": torch.zeros(4, 32)}, "two tensors"),
        (lambda t: t | {f"{QUERY.replace('query', 'key')}.lora_{n}.weight": torch.ones(4, 4) for n in "AB"}, "key"),
        (lambda t: {n: v[:3] if "lora_A" in n else v[:, :3] if "lora_B" in n else v for n, v in t.items()}, "rank 3"),
    ],
)
def test_every_tensor_of_the_file_is_used_or_refused(change: Any, says: str, tmp_path: Path) -> None:
    saved_by_peft(tmp_path)
    changed = {n: v.contiguous() for n, v in change(load_file(tmp_path / "adapter_model.safetensors")).items()}
    save_file(changed, tmp_path / "adapter_model.safetensors")
    with pytest.raises(UserError, match=says):
        METHODS.get("lora")(rank=4).fits_initial(roberta(), load_initial(source(str(tmp_path))))


QUERY = "base_model.model.roberta.encoder.layer.0.attention.self.query"
