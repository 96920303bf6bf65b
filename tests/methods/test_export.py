"""Saved adapters, loaded by peft on a base that nothing has touched, against the trained model itself."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from harness.core.method import METHODS, Method
from harness.models.adapter_files import write_adapter
from harness.training.trainer import Trainer
from tests.harness.small_training import protocol, rows, trainer
from tests.methods.checks import EVERY

EXPRESSED = [name for name, method in EVERY.items() if method.exports]
CASES: dict[str, Method] = {name: EVERY[name] for name in EXPRESSED}
CASES |= {
    "lorasp of the whole model": METHODS.get("lorasp")(rank=3, ratio=0.02, scope="model"),
    "lorasp zero a": METHODS.get("lorasp")(zero="a", rank=4, alpha=7.0),
    "rslora rank 5": METHODS.get("rslora")(rank=5, alpha=3.0),
    "lora matched": METHODS.get("lora")(rank=5, match="lorasp"),
    "pissa rank 4": METHODS.get("pissa")(rank=4, alpha=6.0),
}
BATCH = rows(seed=1).batch(torch.arange(12).numpy())


def trained(make: Callable[..., Any], methods: Sequence[Method], dtype: torch.dtype) -> tuple[Trainer, Any, Any]:
    model = make(dtype=dtype)
    steps = [protocol(max_steps=3)] * len(methods)
    made, attached = trainer(model, methods, steps, list(range(len(methods))), rows())
    for step in range(3):
        made.train_step(step)
    return made, model, attached


def reloaded(base: Any, folder: Path) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = peft.PeftModel.from_pretrained(base, str(folder), autocast_adapter_dtype=False).eval()
    with torch.no_grad():
        logits: torch.Tensor = loaded(**BATCH).logits
    return logits


def ours(made: Trainer, k: int) -> torch.Tensor:
    batch = {name: value.repeat(k, 1) for name, value in BATCH.items()}
    with torch.no_grad():
        logits: torch.Tensor = made.model.eval()(**batch).logits
    return logits.view(k, len(logits) // k, -1)


def test_the_methods_that_peft_cannot_express_are_these() -> None:
    assert set(EVERY) - set(EXPRESSED) == {"adapter", "bitfit", "full", "galore", "head"}


SOME = ("random", "a-only", "b-only", "layer", "rank")  # the other strategies differ from these in the mask only
SLOW = [n for n in CASES if n.startswith("lorasp-") and n.removeprefix("lorasp-") not in SOME]


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CASES])
def test_peft_gives_the_same_logits_on_the_untouched_base(
    name: str, tiny_bert: Callable[..., Any], tmp_path: Path
) -> None:
    single = ((torch.float32, 1e-5),) if name in ("lora", "lorasp", "pissa", "dora", "prefix") else ()
    for dtype, tolerance in ((torch.float64, 1e-9), *single):
        made, model, attached = trained(tiny_bert, [CASES[name]], dtype)
        exported = CASES[name].export(model, attached, 0)
        write_adapter(tmp_path, "key", exported, "")
        found = reloaded(tiny_bert(dtype=dtype), tmp_path / "adapters" / "key")
        wanted = ours(made, 1)[0]
        start = tiny_bert(dtype=dtype)(**BATCH).logits
        assert float((wanted - start).abs().max()) > 1e-2
        torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


def test_each_replica_of_a_pack_is_saved_from_its_slot(tiny_bert: Callable[..., Any], tmp_path: Path) -> None:
    names = [
        ("lora", {}),
        ("lorasp", {"rank": 3, "ratio": 0.02, "scope": "model"}),
        ("pissa", {"rank": 2}),
        ("rslora", {}),
    ]
    methods = [METHODS.get(name)(**options) for name, options in names]
    made, model, attached = trained(tiny_bert, methods, torch.float64)
    wanted = ours(made, len(methods))
    for slot, method in enumerate(methods):
        write_adapter(tmp_path, str(slot), method.export(model, attached, slot), "")
        found = reloaded(tiny_bert(), tmp_path / "adapters" / str(slot))
        torch.testing.assert_close(found, wanted[slot], rtol=0, atol=1e-9)


def test_dead_ranks_are_not_saved(tiny_bert: Callable[..., Any], tmp_path: Path) -> None:
    method = METHODS.get("lorasp")(rank=3, ratio=0.02, scope="model")
    _, model, attached = trained(tiny_bert, [method], torch.float64)
    config = method.export(model, attached, 0).config
    assert config.r == 3 and config.rank_pattern and set(config.rank_pattern.values()) <= {1, 2}


def test_a_rank_that_adds_nothing_yet_is_saved(tiny_bert: Callable[..., Any]) -> None:
    model = tiny_bert()
    method = METHODS.get("lora")(rank=4)
    _, attached = trainer(model, [method], [protocol()], [0], rows())
    exported = method.export(model, attached, 0)
    shapes = {tuple(v.shape) for n, v in exported.tensors.items() if "lora_" in n}
    assert shapes == {(4, 32), (32, 4)} and exported.config.rank_pattern == {}
