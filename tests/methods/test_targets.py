"""Which layers the words of `target` mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from harness.core.errors import UserError
from harness.core.method import METHODS
from methods.sites import find_sites
from tests.harness.small_training import protocol, rows, train, trainer

ATTENTION = ["self.query", "self.key", "self.value", "output.dense"]
WORDS = {
    ("query", "value"): ["attention.self.query", "attention.self.value"],
    ("attention",): [f"attention.{name}" for name in ATTENTION],
    ("all-linear",): [*(f"attention.{name}" for name in ATTENTION), "intermediate.dense", "output.dense"],
    ("attention", "query"): [f"attention.{name}" for name in ATTENTION],
}


@pytest.mark.parametrize("target", WORDS)
def test_in_bert(target: tuple[str, ...], tiny_bert: Callable[..., nn.Module]) -> None:
    wanted = [f"bert.encoder.layer.{i}.{name}" for i in range(2) for name in WORDS[target]]
    assert [site.name for site in find_sites(tiny_bert(), target, 4)] == wanted


@pytest.mark.parametrize("kind", ["llama", "distilbert", "roberta"])
def test_in_other_architectures(kind: str) -> None:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    sizes = {"llama": {"num_hidden_layers": 1}, "distilbert": {"n_layers": 1}, "roberta": {"num_hidden_layers": 1}}
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, **sizes[kind]))
    attention, every = (len(find_sites(model, (word,), 4)) for word in ("attention", "all-linear"))
    assert (attention, every) == {"llama": (4, 7), "distilbert": (4, 6), "roberta": (4, 6)}[kind]


@pytest.mark.parametrize("name", ["lora", "lorasp", "dora", "galore"])
def test_methods_train_on_all_linear_layers(name: str, tiny_bert: Callable[..., nn.Module]) -> None:
    made, attached = trainer(
        tiny_bert(), [METHODS.get(name)(rank=4, target=("all-linear",))], [protocol(max_steps=2)], [0], rows()
    )
    before = [g.theta.clone() for g in attached.groups]
    assert len(train(made)) > 0
    assert all(not (g.theta == b).all() for g, b in zip(attached.groups, before, strict=True))


FUSED = {
    "gpt2": ({"n_layer": 1, "n_head": 2, "n_embd": 8}, "c_attn"),
    "bloom": ({"n_layer": 1, "n_head": 2, "hidden_size": 8}, "query_key_value"),
    "gpt_neox": ({"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8}, "query_key_value"),
    "falcon": ({"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8}, "query_key_value"),
    "phi3": ({"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8, "pad_token_id": 0}, "qkv_proj"),
    "modernbert": ({"num_hidden_layers": 1, "num_attention_heads": 2, "hidden_size": 8}, "Wqkv"),
}


def skeleton(kind: str, **sizes: Any) -> Any:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(
            AutoConfig.for_model(kind, vocab_size=20, **{"pad_token_id": 0} | sizes)
        )


@pytest.mark.parametrize("kind", FUSED)
def test_query_and_value_of_a_fused_projection_are_the_projection(kind: str) -> None:
    """As peft's own default targets, where it has some for the type."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as DEFAULTS

    sizes, last = FUSED[kind]
    found = find_sites(skeleton(kind, **sizes), ("query", "value"), 4)
    assert [site.name.rpartition(".")[2] for site in found] == [last]
    assert kind not in DEFAULTS or DEFAULTS[kind] == [last]
    assert all(site.d_in == 8 and site.d_out > 8 for site in found)


def test_layers_of_gpt2_are_linear_layers() -> None:
    model = skeleton("gpt2", **FUSED["gpt2"][0])
    names = [site.name.removeprefix("transformer.h.0.") for site in find_sites(model, ("all-linear",), 4)]
    assert names == ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]


EXPERTS = {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "hidden_size": 8}
EXPERTS |= {"intermediate_size": 8, "moe_intermediate_size": 8, "num_local_experts": 2, "num_experts": 2}


@pytest.mark.parametrize("kind", ["mixtral", "qwen2_moe", "olmoe"])
def test_experts_are_refused_by_name_where_all_linear_would_leave_them_out(kind: str) -> None:
    model = skeleton(kind, **EXPERTS) if kind != "olmoe" else causal(kind, **EXPERTS)
    assert find_sites(model, ("attention",), 4)
    with pytest.raises(UserError, match="experts"):
        find_sites(model, ("all-linear",), 4)


def causal(kind: str, **sizes: Any) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=20, pad_token_id=0, **sizes))


def test_names_that_the_error_suggests_are_accepted() -> None:
    model = skeleton("gpt2", **FUSED["gpt2"][0])
    with pytest.raises(UserError) as raised:
        find_sites(model, ("nothing",), 4)
    suggested = str(raised.value).rpartition("it has: ")[2].split(", ")
    assert len(suggested) >= 4
    for name in suggested:
        assert find_sites(model, (name,), 4)


@pytest.mark.parametrize("name", ["lora", "pissa", "galore", "bitfit", "adapter"])
def test_methods_on_gpt2_start_at_the_base_and_train(name: str) -> None:
    """Its layers keep their weight transposed: pissa and galore read it."""
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(vocab_size=50, n_embd=32, n_layer=1, n_head=2, n_positions=64, pad_token_id=0, resid_pdrop=0.0)
    config.embd_pdrop = config.attn_pdrop = 0.0
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT2ForSequenceClassification(config).double().requires_grad_(False)
    short = {"rank": 4} if "rank" in METHODS.get(name).__dataclass_fields__ else {}  # type: ignore[attr-defined]
    method = METHODS.get(name)(**short)
    batch = {n: v for n, v in rows(seed=1).batch(np.arange(8)).items() if n != "token_type_ids"}
    before = model.transformer(**batch).last_hidden_state.detach()
    made, attached = trainer(model, [method], [protocol(max_steps=2)], [0], rows())
    torch.testing.assert_close(made.model.eval().transformer(**batch).last_hidden_state, before, rtol=0, atol=1e-9)
    start = [g.theta.clone() for g in attached.groups]
    assert len(train(made)) > 0
    assert all(not torch.equal(g.theta, b) for g, b in zip(attached.groups, start, strict=True))
