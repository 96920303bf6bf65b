"""Training a LLaMA with lean modules: the losses are peft's, packs equal each replica alone, less is saved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.core.cell import Recompute
from harness.core.method import METHODS, Member, Method
from harness.core.protocol import Protocol
from harness.core.seeds import Streams, equal
from harness.data.task_types.answered_rows import AnsweredRows, TokenizedExample, build_packed_rows, build_separate_rows
from harness.data.task_types.token_losses import TokenLosses
from harness.training import lean_forward, trainer as trainer_module
from harness.training.lean_llama import LeanAttention, LeanMLP, LeanRMSNorm
from harness.training.pack_setup import build_calibration
from harness.training.recompute import apply_checkpointing
from harness.training.trainer import Trainer
from methods.layers.lowrank import LowRankLinear
from tests.harness import causal
from tests.saved_storages import list_saved

STEPS = 20
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def make_rows(packed: bool = False) -> AnsweredRows:
    rng = np.random.default_rng(0)
    examples = []
    for _ in range(24):
        length = int(rng.integers(6, 13))
        answer = [False] * 3 + [True] * (length - 3)
        examples.append(TokenizedExample(rng.integers(3, 250, length).tolist(), answer, False))
    names = [str(i) for i in range(len(examples))]
    return build_packed_rows(names, examples, 24, 0) if packed else build_separate_rows(names, examples, 0)


def make_protocol(**fields: Any) -> Protocol:
    start = {"lr": 1e-2, "epochs": 100.0, "max_steps": STEPS, "batch_size": 4, "max_length": 24, "warmup": 0.0}
    return Protocol.model_validate(start | {"weight_decay": 0.0, "clip": 1e6, "schedule": "constant"} | fields)


def make_trainer(
    methods: list[Method], seeds: list[int], rows: AnsweredRows, dtype: torch.dtype = torch.float32, **fields: Any
) -> Trainer:
    model = causal.model(dtype, "sdpa").requires_grad_(methods[0].trains_backbone)
    members = [Member(m, Streams(equal(s)), STEPS) for m, s in zip(methods, seeds, strict=True)]
    attached = methods[0].attach(model, members, build_calibration(rows, TokenLosses()))
    return Trainer(
        model, attached, rows, [make_protocol(**fields)] * len(seeds), [m.streams for m in members], TokenLosses()
    )


def lora(**options: Any) -> Method:
    return METHODS.get("lora")(**{"rank": 4, "alpha": 8.0, "target": LINEAR} | options)


def train(made: Trainer) -> list[Tensor]:
    return [made.train_step(step) for step in range(STEPS)]


class PeftTraining:
    """peft's LoRA with the start values of `made`, transformers' own forward pass and torch's AdamW."""

    def __init__(self, made: Trainer) -> None:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=4, lora_alpha=8, target_modules=list(LINEAR), task_type="CAUSAL_LM")
        self.model: Any = get_peft_model(causal.model(torch.float32, "eager"), config)  # type: ignore[arg-type]
        for name, layer in made.model.named_modules():
            if isinstance(layer, LowRankLinear):
                own = self.model.get_submodule(f"base_model.model.{name}")
                own.lora_A["default"].weight.data.copy_(layer.a.dense()[0])
                own.lora_B["default"].weight.data.copy_(layer.b.dense()[0])
        trained = [p for p in self.model.parameters() if p.requires_grad]
        protocol = make_protocol()
        betas = (protocol.beta1, protocol.beta2)
        self.optimizer = torch.optim.AdamW(trained, lr=1e-2, betas=betas, eps=protocol.epsilon, weight_decay=0.0)

    def step(self, batch: dict[str, Tensor], targets: Tensor) -> float:
        self.optimizer.zero_grad()
        logits = self.model(**batch).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())


def test_losses_of_20_steps_are_those_of_peft() -> None:
    rows = make_rows()
    made = make_trainer([lora()], [0], rows)
    peft = PeftTraining(made)
    ours, theirs = [], []
    for step in range(STEPS):
        chosen = np.asarray(made.order.at(step))
        targets = rows.targets(rows.place(chosen), rows.shape(chosen))
        theirs.append(peft.step(rows.batch(chosen), targets))
        ours.append(float(made.train_step(step)[0]))
    assert {type(m) for m in made.model.modules()} >= {LeanRMSNorm, LeanMLP, LeanAttention}
    assert theirs[-1] < 0.8 * theirs[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def use_plain_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer_module, "install_lean_forward", lambda model, split: None)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["lora", "lorasp", "full", "dora", "prompt", "prefix", "ia3"])
def test_losses_are_those_of_plain_modules(name: str, packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if packed and name in ("prompt", "prefix"):
        pytest.skip("a prompt needs a mask of two dimensions")
    options: dict[str, Any] = {"target": LINEAR, "rank": 4} if name.startswith("lor") else {}
    method, rows = METHODS.get(name)(**options), make_rows(packed)
    lean = train(make_trainer([method], [0], rows, lr=1e-3))
    use_plain_modules(monkeypatch)
    plain = train(make_trainer([method], [0], rows, lr=1e-3))
    torch.testing.assert_close(torch.stack(lean), torch.stack(plain), rtol=1e-5, atol=0)


def test_a_pack_trains_each_replica_as_alone() -> None:
    methods = [lora(dropout=0.1), METHODS.get("lorasp")(rank=4, target=LINEAR), lora(rank=2, dropout=0.3)]
    together = torch.stack(train(make_trainer(methods, [0, 1, 2], make_rows())))
    for i, method in enumerate(methods):
        alone = torch.stack(train(make_trainer([method], [i], make_rows())))
        torch.testing.assert_close(together[:, i], alone[:, 0], rtol=1e-4, atol=0)


@pytest.mark.parametrize("how", ["selective", "full"])
def test_losses_do_not_depend_on_activation_checkpointing(how: Recompute) -> None:
    method, losses = lora(dropout=0.1), []
    for way in ("none", how):
        made = make_trainer([method], [0], make_rows())
        apply_checkpointing(made.model, way, made.attached)
        losses.append(torch.stack(train(made)))
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)


def test_bfloat16_is_within_rounding_of_plain_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []
    for _ in range(2):
        made = make_trainer([lora(), lora(dropout=0.1)], [0, 1], make_rows(), torch.bfloat16)
        made.autocast = True
        losses.append(torch.stack(train(made)))
        use_plain_modules(monkeypatch)
    assert not torch.equal(*losses)
    torch.testing.assert_close(*losses, rtol=2**-6, atol=0)


def count_saved(made: Trainer) -> int:
    """Bytes of the storages that autograd saves in a forward pass, without weights and trained values."""
    kept: list[torch.Tensor] = []

    def forward() -> torch.Tensor:
        kept.append(made.losses(0))
        return kept[0]

    total = sum(list_saved(forward, [*made.model.parameters(), *(group.theta for group in made.attached.groups)]))
    kept[0].sum().backward()
    return total


def test_less_is_saved_than_by_plain_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a block saves of tensors [tokens, width], in float32; the rest is smaller than one of them."""
    made = make_trainer([lora()], [0], make_rows())
    made.train_step(0)  # tensors that are built once are no activations
    tokens = 4 * made._begin_step(1)[1][0]
    hidden, inner, grouped = 32, 48, 16
    widths = 2 * (hidden + (hidden + 2 * grouped) + hidden + hidden + 2 * inner)  # x; q, k, v; heads; x; gate, up
    low = 2 * 4 * 7  # A x of seven layers
    head = 2 * hidden  # the input of the last norm, and the gradient of its result
    expected = 4 * tokens * (widths + low + head)
    lean = count_saved(made)
    assert expected <= lean <= expected * 1.15
    use_plain_modules(monkeypatch)
    plain = make_trainer([lora()], [0], make_rows())
    plain.train_step(0)
    assert lean < 0.65 * count_saved(plain)


def test_evaluation_is_that_of_transformers() -> None:
    made = make_trainer([lora()], [0], make_rows())
    reference = causal.model(torch.float32, "sdpa")
    batch = make_rows().batch(np.arange(4))
    with torch.no_grad():
        ours, theirs = (m.eval()(**batch).logits for m in (made.model, reference))
    assert isinstance(made.model.model.layers[0].mlp, LeanMLP)  # type: ignore[union-attr,index]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


def test_a_model_of_another_type_is_left_alone() -> None:
    model = causal.model(kind="opt")
    before = [type(m) for m in model.modules()]
    lean_forward.install_lean_forward(model, make_rows())
    assert [type(m) for m in model.modules()] == before


@pytest.mark.gpu
@pytest.mark.parametrize("packed", [False, True])
def test_a_captured_step_has_the_losses_of_the_cpu(packed: bool) -> None:
    """With kernels where they are installed, in float32 without TF32."""
    methods, rows, losses = [lora(dropout=0.1), lora(rank=2)], make_rows(packed), []
    for device in ("cpu", "cuda"):
        model = causal.model(torch.float32, "sdpa").to(device)
        members = [Member(m, Streams(equal(s)), STEPS) for s, m in enumerate(methods)]
        split = rows.to(device)
        attached = methods[0].attach(model, members, build_calibration(split, TokenLosses()))
        streams = [m.streams for m in members]
        made = Trainer(model, attached, split, [make_protocol(lr=1e-3)] * 2, streams, TokenLosses())
        with made.runner.stream():
            losses.append(torch.stack([made.train_step(step).cpu().clone() for step in range(STEPS)]))
        assert made.runner.fallback is None
    torch.testing.assert_close(*losses, rtol=1e-3, atol=0)
