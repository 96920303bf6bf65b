"""Packed training against solo runs, and solo LoRA against peft."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from harness.core.method import METHODS, Method
from harness.data.sampler import ReplicaSampler
from harness.planning.schedule import compute_learning_rates
from harness.replicas.dropout import CounterDropout
from harness.training import trainer as training
from methods.layers.lowrank import LowRankLinear
from tests.harness.small_training import protocol, rows, train, trainer

BOUND = 1e-10


def method(name: str, **options: object) -> Method:
    return METHODS.get(name)(**options)


MIXED = [
    (method("lora", rank=8, dropout=0.1), protocol(lr=1e-2)),
    (method("lorasp", rank=16), protocol(lr=5e-3)),
    (method("lorasp", rank=4, ratio=0.25, dropout=0.3), protocol(lr=2e-2)),
    (method("lora", rank=2, alpha=4.0), protocol(lr=1e-3, weight_decay=0.2)),
    (method("lorasp", target=("query", "key", "value")), protocol(lr=1e-2, clip=0.1)),
    (method("lora"), protocol(lr=3e-2, warmup=0.5)),
]


def dense(model: nn.Module, slot: int) -> dict[str, torch.Tensor]:
    """A and B of one replica by site, and nothing else."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, LowRankLinear):
            found[f"{name}.a"] = module.a.dense()[slot].detach()
            found[f"{name}.b"] = module.b.dense()[slot].detach()
    return found


def test_pack_of_six_equals_six_solo_runs_in_fp64_with_dropout(tiny_bert: Callable[..., nn.Module]) -> None:
    split, seeds = rows(), [0, 0, 1, 2, 1, 3]
    packed_model = tiny_bert(dropout=0.1)
    packed, attached = trainer(packed_model, [m for m, _ in MIXED], [p for _, p in MIXED], seeds, split)
    train(packed)
    for slot, (own, own_protocol) in enumerate(MIXED):
        model = tiny_bert(dropout=0.1)
        solo, solo_attached = trainer(model, [own], [own_protocol], [seeds[slot]], split)
        train(solo)
        theirs = dense(packed_model, slot)
        for name, value in dense(model, 0).items():
            wide = theirs[name]
            wide = wide[: value.shape[0]] if name.endswith(".a") else wide[:, : value.shape[1]]
            assert (wide - value).abs().max() <= BOUND * max(1.0, float(value.abs().max())), name
        heads, head = attached.group("head"), solo_attached.group("head")
        assert heads is not None and head is not None
        torch.testing.assert_close(heads.theta[slot], head.theta[0], rtol=0, atol=BOUND)
        curve = np.array(solo.histories[0].curve)
        np.testing.assert_allclose(np.array(packed.histories[slot].curve), curve, atol=1e-9)


def test_a_replica_that_ends_early_leaves_and_the_others_go_on_as_alone(tiny_bert: Callable[..., nn.Module]) -> None:
    split = rows()
    protocols = [protocol(max_steps=n) for n in (6, 20, 11)]
    methods = [method("lorasp", rank=4), method("lora", rank=8), method("lorasp", rank=8)]
    model = tiny_bert(dropout=0.1)
    packed, _ = trainer(model, methods, protocols, [0, 1, 2], split)
    seen: dict[int, dict[str, torch.Tensor]] = {}

    def finished(members: object) -> None:
        ends = [m for m in packed.members if packed.totals[m] == packed.optimizer.steps]
        for member in ends:
            seen[member] = dense(model, packed.members.index(member))

    packed.run(finished, lambda step, losses: None)
    assert sorted(seen) == [0, 1, 2]
    for slot in range(3):
        alone = tiny_bert(dropout=0.1)
        train(trainer(alone, [methods[slot]], [protocols[slot]], [slot], split)[0])
        for name, value in dense(alone, 0).items():
            wide = seen[slot][name]
            wide = wide[: value.shape[0]] if name.endswith(".a") else wide[:, : value.shape[1]]
            torch.testing.assert_close(wide, value, rtol=0, atol=BOUND)


def test_nan_in_one_replica_leaves_its_neighbours_bit_identical(tiny_bert: Callable[..., nn.Module]) -> None:
    def run(broken: bool) -> tuple[list[torch.Tensor], int | None]:
        made, attached = trainer(
            tiny_bert(dropout=0.1),
            [method("lora"), method("lorasp"), method("lora")],
            [protocol()] * 3,
            [0, 1, 2],
            rows(),
        )
        if broken:
            attached.groups[0].theta[1, :3] = float("nan")
        train(made)
        return [g.theta[[0, 2]].clone() for g in attached.groups], made.histories[1].broke_at

    (whole, none), (with_nan, broke) = run(False), run(True)
    assert none is None and broke is not None
    assert all(torch.equal(a, b) for a, b in zip(whole, with_nan, strict=True))


def test_same_pack_twice_is_bit_identical(tiny_bert: Callable[..., nn.Module]) -> None:
    def run() -> list[torch.Tensor]:
        made, attached = trainer(
            tiny_bert(dropout=0.1, dtype=torch.float32), [m for m, _ in MIXED], [p for _, p in MIXED], [0] * 6, rows()
        )
        train(made)
        return [g.theta for g in attached.groups]

    assert all(torch.equal(a, b) for a, b in zip(run(), run(), strict=True))


class Masks(nn.Module):
    """Our dropout in peft's place; it may see [B, n, d]."""

    def __init__(self, p: float, name: str) -> None:
        super().__init__()
        self.ours = CounterDropout([p], name)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.ours(x)
        return out


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_solo_lora_equals_peft_in_a_plain_loop(tiny_bert: Callable[..., nn.Module], dropout: float) -> None:
    from peft import LoraConfig, get_peft_model

    split, own = rows(), protocol()
    ours = tiny_bert(dropout=dropout)
    made, attached = trainer(ours, [method("lora", rank=4, alpha=8.0, dropout=dropout)], [own], [3], split)
    peft_model = tiny_bert(dropout=dropout)
    wrapped = get_peft_model(
        peft_model, LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules=["query", "value"])
    ).double()
    copy_start(ours, wrapped.base_model.model)
    if dropout:
        put_our_masks(wrapped.base_model.model, dropout, made)
    plain_loop(wrapped, made.order, own, split, made.clock if dropout else None)
    made.clock.step.zero_()
    train(made)
    theirs = wrapped.base_model.model
    for name, value in dense(ours, 0).items():
        site, part = name.rsplit(".", 1)
        weight = getattr(theirs.get_submodule(site), f"lora_{part.upper()}").default.weight
        torch.testing.assert_close(weight.detach(), value, rtol=0, atol=1e-12)
    head = attached.group("head")
    assert head is not None
    torch.testing.assert_close(
        theirs.classifier.weight.detach(), head.leaves["classifier.weight"].tensor[0].detach(), rtol=0, atol=1e-12
    )


def copy_start(ours: nn.Module, theirs: nn.Module) -> None:
    """Our start values and head into peft's modules, which then train."""
    with torch.no_grad():
        for name, value in dense(ours, 0).items():
            site, part = name.rsplit(".", 1)
            getattr(theirs.get_submodule(site), f"lora_{part.upper()}").default.weight.copy_(value)
        theirs.classifier.weight.copy_(ours.classifier.weight_leaf.tensor[0])  # type: ignore[union-attr,index,operator]
        theirs.classifier.bias.zero_()  # type: ignore[union-attr,operator]
    theirs.classifier.requires_grad_(True)  # type: ignore[union-attr,operator]


def put_our_masks(theirs: nn.Module, p: float, made: object) -> None:
    clock = made.clock  # type: ignore[attr-defined]
    for path, module in list(theirs.named_modules()):
        if isinstance(module, nn.Dropout) and module.p > 0:
            parent, _, last = path.rpartition(".")
            name = path.replace(".lora_dropout.default", ".lora_dropout")
            new = CounterDropout([p], name)
            new.bind(clock)
            setattr(theirs.get_submodule(parent), last, new) if not isinstance(
                theirs.get_submodule(parent), nn.ModuleDict
            ) else theirs.get_submodule(parent).update({last: new})  # type: ignore[operator]


def plain_loop(model: nn.Module, order: ReplicaSampler, own: object, split: object, clock: object) -> None:
    """torch.optim.AdamW, clip_grad_norm_ and a plain loop over the same rows."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": own.weight_decay},  # type: ignore[attr-defined]
        {"params": [p for p in trained if p.ndim == 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1.0)
    model.train()
    for step, rate in enumerate(compute_learning_rates(own, 20)):  # type: ignore[arg-type]
        if clock is not None:
            clock.step.fill_(step)  # type: ignore[attr-defined]
        where = order.at(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad()
        logits = model(**split.batch(where)).logits  # type: ignore[attr-defined]
        nn.functional.cross_entropy(logits, split.labels[torch.from_numpy(where)]).backward()  # type: ignore[attr-defined]
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()


def test_regression_uses_squared_error(tiny_bert: Callable[..., nn.Module]) -> None:
    split = rows(outputs=1)
    model = tiny_bert(outputs=1)
    made, _ = trainer(model, [method("head")], [protocol()], [0], split)
    where = made.order.at(0)
    with torch.no_grad():
        said = model(**split.batch(where)).logits[:, 0]
    expected = ((said - split.labels[torch.from_numpy(where)]) ** 2).mean()
    torch.testing.assert_close(made.train_step(0)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["lora", "lorasp", "full", "adalora", "galore", "dora"])
def test_a_trained_pack_is_freed_at_once(tiny_bert: Callable[..., nn.Module], name: str) -> None:
    model = tiny_bert()
    made, attached = trainer(model, [method(name)], [protocol(lr=1e-3, max_steps=3)], [0], rows())
    gc.collect()
    gc.disable()  # on a GPU some dozen dead packs came to 30 GiB before the collector ran
    try:
        train(made)
        held = [weakref.ref(made), weakref.ref(model), weakref.ref(attached.groups[0])]
        del made, model, attached
        assert [ref() for ref in held] == [None, None, None]
    finally:
        gc.enable()


def test_progress_is_reported_between_the_points_of_the_curve(
    tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A point of a pack of 20 hours comes every hour, after which its worker would count as hanging; same bits."""
    histories, reports = [], []
    for seconds in (1e9, 0.0):
        monkeypatch.setattr(training, "REPORT_SECONDS", seconds)
        steps: list[int] = []
        made, _ = trainer(tiny_bert(), [method("lora")], [protocol(lr=1e-3, max_steps=60, epochs=60)], [0], rows())
        histories.append(made.run(lambda members: None, lambda step, losses, steps=steps: steps.append(step)))  # type: ignore[misc]
        reports.append(steps)
    assert histories[0] == histories[1] and len(histories[0][0].curve) == 20
    assert reports == [list(range(3, 61, 3)), list(range(1, 61))]
