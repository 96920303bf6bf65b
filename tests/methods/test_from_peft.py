"""The methods taken from peft, and ours that peft has too, against peft's own model in a plain training loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import peft
import pytest
import torch

from harness.core.method import METHODS, Site
from harness.core.seeds import Streams, equal
from harness.planning.schedule import compute_learning_rates
from harness.training.trainer import ReplicaSampler
from methods.from_peft import call_seeded
from methods.layers.replica_linear import draw_head, find_head_linears
from methods.layers.replicas import PrefixTunedModel, PromptTunedModel
from methods.lowrank import draw_factors
from methods.sites import find_sites
from tests.harness.small_training import protocol, rows, train, trainer

STREAMS = Streams(equal(3))
TARGETS = ["query", "value"]
CONFIGS: dict[str, Callable[[], Any]] = {
    "dora": lambda: peft.LoraConfig(r=16, lora_alpha=16, target_modules=TARGETS, use_dora=True),
    "vera": lambda: peft.VeraConfig(
        r=64, vera_dropout=0.0, target_modules=TARGETS, projection_prng_key=STREAMS.integer("init", "projection") >> 32
    ),
    "ia3": lambda: peft.IA3Config(target_modules=["key", "value"], feedforward_modules=[]),
    "shira": lambda: peft.ShiraConfig(r=16, target_modules=TARGETS, random_seed=STREAMS.integer("mask", "shira") >> 32),
    "adalora": lambda: peft.AdaLoraConfig(
        target_r=16, init_r=24, lora_alpha=16, target_modules=TARGETS, total_step=20, tinit=2, tfinal=6, deltaT=1
    ),
    "rslora": lambda: peft.LoraConfig(r=16, lora_alpha=16, target_modules=TARGETS, use_rslora=True),
    "pissa": lambda: peft.LoraConfig(r=16, lora_alpha=16, target_modules=TARGETS, bias="none"),
}


def plain(model: Any, name: str, settings: Any) -> Any:
    """peft's model, trained by torch's AdamW in a loop of its own; AdaLoRA's penalty and schedule as its docs say."""
    config = CONFIGS[name]()
    for path, linear in find_head_linears(model):
        weight, bias = draw_head(path, linear, STREAMS, 0.02)
        linear.weight.data.copy_(weight)
        linear.bias.data.copy_(bias)
    wrapped = call_seeded(lambda: peft.PeftModel(model, config), STREAMS.integer("init", "peft"))
    _starts(wrapped, name)
    for path, parameter in model.named_parameters():
        if ".ranknum." in path:  # frozen by peft, until its cast to float64 forgets that
            parameter.requires_grad_(False)
    head = [p.requires_grad_() for p in model.classifier.parameters()]
    adapter = [p for n, p in model.named_parameters() if p.requires_grad and not n.startswith("classifier")]
    groups = [{"params": adapter + head[:1], "weight_decay": 0.01}, {"params": head[1:], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    split = rows()
    order = ReplicaSampler([STREAMS], split.lengths, 8)
    model.train()
    for step, rate in enumerate(compute_learning_rates(settings, 20)):
        chosen = order.at(step)
        batch, labels = split.batch(chosen), split.labels[torch.from_numpy(chosen)]
        out = wrapped.base_model(**batch, labels=labels)
        optimizer.zero_grad()
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_([p for g in optimizer.param_groups for p in g["params"]], 1.0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        if hasattr(wrapped.base_model, "update_and_allocate"):
            wrapped.base_model.update_and_allocate(step + 1)
    return model


def _starts(wrapped: Any, name: str) -> None:
    """Our start of A in peft's layers; for pissa the principal part in A and B and the residual in the weight."""
    if name not in ("rslora", "pissa"):
        return
    for path, layer in wrapped.base_model.model.named_modules():
        if "default" not in getattr(layer, "lora_A", {}):
            continue
        a, b, weight = layer.lora_A["default"].weight.data, layer.lora_B["default"].weight.data, layer.base_layer.weight
        if name == "rslora":
            a.copy_(draw_factors(Site(path, layer.in_features, layer.out_features, 16, 0), STREAMS)[0])
        else:
            u, s, v = np.linalg.svd(weight.detach().numpy(), full_matrices=False)
            a.copy_(torch.from_numpy(np.sqrt(s[:16])[:, None] * v[:16]))
            b.copy_(torch.from_numpy(u[:, :16] * np.sqrt(s[:16])))
            weight.data.sub_(b @ a)


@pytest.mark.parametrize("name", CONFIGS)
def test_twenty_steps_are_those_of_peft(name: str, tiny_bert: Callable[..., Any]) -> None:
    settings = protocol(lr=1e-2, max_steps=20)
    made, _ = trainer(tiny_bert(), [METHODS.get(name)()], [settings], [3], rows())
    train(made)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = plain(tiny_bert(), name, settings)
    batch = rows(seed=1).batch(torch.arange(20).numpy())
    base = tiny_bert().eval()
    with torch.no_grad():
        found, wanted = (m.eval()(**batch).logits for m in (made.model, expected))
        start = base(**batch).logits
    assert float((wanted - start).abs().max()) > 1e-2
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)


def test_adalora_prunes(tiny_bert: Callable[..., Any]) -> None:
    model = tiny_bert()
    train(trainer(model, [METHODS.get("adalora")(rank=2, start_rank=4)], [protocol(max_steps=40)], [0], rows())[0])
    alive = sum(int((p != 0).sum()) for n, p in model.named_parameters() if "lora_E" in n)
    assert alive <= 2 * 4 and len(find_sites(tiny_bert(), ("query", "value"), 1)) == 4


@pytest.mark.parametrize("kind", ["prompt", "prefix"])
def test_virtual_tokens_give_pefts_logits(kind: str, tiny_bert: Callable[..., Any]) -> None:
    model = tiny_bert()
    made, attached = trainer(model, [METHODS.get(kind)(tokens=5)], [protocol(max_steps=3)], [0], rows())
    assert isinstance(made.model, PromptTunedModel | PrefixTunedModel)
    values = attached.groups[0].leaves[kind].tensor.detach()[0]
    batch = rows().batch(torch.arange(6).numpy())
    with torch.no_grad():
        found = made.model.eval()(**batch).logits
    reference = tiny_bert()
    config_of = peft.PromptTuningConfig if kind == "prompt" else peft.PrefixTuningConfig
    wrapped = peft.get_peft_model(reference, config_of(task_type="SEQ_CLS", num_virtual_tokens=5)).double().eval()
    embedding = wrapped.prompt_encoder["default"].embedding.weight
    if kind == "prefix":  # peft: [tokens, layers * 2 * d]; ours: [layers, 2, heads, tokens, d / heads]
        values = values.permute(3, 0, 1, 2, 4).reshape(5, -1)
    with torch.no_grad():
        embedding.copy_(values)
        head = wrapped.base_model.classifier.modules_to_save["default"]
        head.weight.copy_(attached.groups[1].leaves["classifier.weight"].tensor[0])
        head.bias.copy_(attached.groups[1].leaves["classifier.bias"].tensor[0])
        wanted = wrapped(**batch).logits
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)
