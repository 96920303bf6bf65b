"""Masks drawn anew: against a loop that holds A and B dense and masks torch's own AdamW."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.core.errors import HarnessError
from harness.core.method import METHODS, Method
from harness.core.seeds import Streams, equal
from harness.training.trainer import Trainer
from methods.layers.lowrank import LowRankLinear
from methods.layers.matrices import MatrixBank
from methods.sites import find_sites
from tests.harness.small_training import protocol, rows, train, trainer

LORASP = METHODS.get("lorasp")


def layers(model: nn.Module) -> dict[str, LowRankLinear]:
    return {n: m for n, m in model.named_modules() if isinstance(m, LowRankLinear)}


def dense(model: nn.Module, row: int = 0) -> dict[str, Tensor]:
    return {f"{n}.{p}": getattr(m, p).dense()[row].detach().clone() for n, m in layers(model).items() for p in "ab"}


def masks(method: Method, model: nn.Module, seed: int, draw: int) -> dict[str, Tensor]:
    assert isinstance(method, LORASP)
    drawn = method.resample_masks(find_sites(model, method.target, method.rank), Streams(equal(seed)), draw)  # type: ignore[attr-defined]
    return {f"{n}.{p}": torch.from_numpy(m) for n, pair in drawn.items() for p, m in zip("ab", pair, strict=True)}


def test_each_span_is_adamw_from_zero_on_the_entries_of_its_mask(
    tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients are the model's; torch's AdamW takes them, fresh for each span, and frozen entries are put back."""
    method, model, bare = LORASP(rank=4, resample=3), tiny_bert(), tiny_bert()
    settings = protocol(max_steps=8, warmup=0.0, clip=1e9, weight_decay=0.1)
    made, _ = trainer(model, [method], [settings], [1], rows())
    grads: list[dict[str, Tensor]] = []
    step = made.optimizer.update

    def watched() -> Tensor:
        grads.append(_dense_grads(model))
        return step()

    monkeypatch.setattr(made.optimizer, "update", watched)
    twin = {name: nn.Parameter(value) for name, value in dense(model).items()}
    for taken in range(8):
        mask = masks(method, bare, 1, taken // 3)
        if taken % 3 == 0:
            adamw = torch.optim.AdamW(twin.values(), betas=(0.9, 0.999), eps=1e-8, weight_decay=0.1)
        before = dense(model)
        made.train_step(taken)
        adamw.param_groups[0]["lr"] = float(made.optimizer.rates[0][taken])
        for name, value in twin.items():
            value.grad = grads[taken][name]
            assert not value.grad[~mask[name]].any() and (value.grad[mask[name]].any() or taken == 0)
        adamw.step()
        for name, now in dense(model).items():
            twin[name].data[~mask[name]] = before[name][~mask[name]]
            torch.testing.assert_close(now, twin[name].detach(), rtol=0, atol=1e-12)
            assert torch.equal(now[~mask[name]], before[name][~mask[name]])


def _dense_grads(model: nn.Module) -> dict[str, Tensor]:
    """Gradients of the trained entries at their places, zero elsewhere."""
    found = {}
    for name, layer in layers(model).items():
        for part in "ab":
            packed = getattr(layer, part)
            flat = torch.zeros(packed.size + 1, dtype=torch.float64)
            flat[packed.places[0].long()] = packed.leaf.tensor.grad.flatten()
            found[f"{name}.{part}"] = flat[:-1].view(packed.shape[1:])
    return found


def test_draws_differ_and_are_those_of_the_seed(tiny_bert: Callable[..., nn.Module]) -> None:
    method, bare = LORASP(resample=2), tiny_bert()
    first, second = masks(method, bare, 1, 1), masks(method, bare, 1, 2)
    name = next(iter(first))
    assert not torch.equal(first[name], second[name]) and torch.equal(first[name], masks(method, bare, 1, 1)[name])
    assert not torch.equal(first[name], masks(method, bare, 2, 1)[name])


def test_nothing_is_drawn_after_the_last_step(tiny_bert: Callable[..., nn.Module]) -> None:
    model = tiny_bert()
    made, attached = trainer(model, [LORASP(resample=4)], [protocol(max_steps=8)], [0], rows())
    train(made)
    want = masks(LORASP(resample=4), tiny_bert(), 0, 1)
    for name, layer in layers(model).items():
        where = torch.zeros(layer.a.size, dtype=torch.bool)
        assert layer.a.places is not None
        where[layer.a.places.long()] = True
        assert torch.equal(where.view(layer.a.shape[1:]), want[f"{name}.a"])
    assert attached.collect_extra(0) == {"resample_error": 0.0, "trained_ratio": 0.5}


def run(model: nn.Module, methods: list[Method], steps: list[int], seeds: list[int]) -> tuple[Trainer, Any]:
    made, attached = trainer(model, methods, [protocol(max_steps=n) for n in steps], seeds, rows())
    return made, attached


def test_a_pack_of_unlike_ranks_and_lengths_is_its_solo_runs(tiny_bert: Callable[..., nn.Module]) -> None:
    methods = [LORASP(rank=4, resample=3), METHODS.get("lora")(rank=6), LORASP(rank=8, resample=5, select="column")]
    steps, ends = [7, 9, 12], {}
    model = tiny_bert(dropout=0.1)
    made, _ = run(model, methods, steps, [0, 1, 2])
    made.run(
        lambda members: ends.update(
            {m: dense(model, i) for i, m in enumerate(members) if steps[m] == made.optimizer.steps}
        ),
        lambda step, losses: None,
    )
    for i, method in enumerate(methods):
        alone = tiny_bert(dropout=0.1)
        train(run(alone, [method], steps[i : i + 1], [i])[0])
        for name, value in dense(alone).items():
            packed = ends[i][name][: value.shape[0], : value.shape[1]]
            torch.testing.assert_close(packed, value, rtol=1e-9, atol=1e-12)


def test_codes_made_anew_have_their_error_recorded(tiny_bert: Callable[..., nn.Module]) -> None:
    made, attached = run(tiny_bert(), [LORASP(resample=4, frozen="nf4")], [8], [0])
    train(made)
    assert 0 < attached.collect_extra(0)["resample_error"] < 100


def test_what_cannot_be_drawn_anew_is_refused() -> None:
    for options in ({"select": "fisher"}, {"select": "b-only"}, {"scope": "model"}, {"resample": -1}):
        with pytest.raises(HarnessError, match="resample="):
            LORASP(**{"resample": 2, **options}).check()  # type: ignore[arg-type]


def test_a_redraw_makes_the_matrices_ready_once(
    tiny_bert: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not once for each site, matrix and replica: values stay, so all are as ready as before."""
    model = tiny_bert()
    made, attached = trainer(model, [LORASP(resample=2)] * 3, [protocol(max_steps=4)] * 3, [0, 1, 2], rows())
    made.train_step(0)
    redraw, kept = list(attached.after_step), list[Tensor]()
    anew: list[int] = []
    whole = MatrixBank.invalidate
    monkeypatch.setattr(MatrixBank, "invalidate", lambda self: (anew.append(0), whole(self))[1])

    def watched(step: int) -> None:
        anew.clear()
        kept[:] = [value for row in range(3) for value in dense(model, row).values()]
        for called in redraw:
            called(step)

    attached.after_step[:] = [watched]
    before = [m.a.index.clone() for m in layers(model).values() if m.a.index is not None]
    made.train_step(1)
    assert len(anew) == 1
    assert not all(torch.equal(m.a.index, i) for m, i in zip(layers(model).values(), before, strict=True))
    for invalidate in attached.invalidate:
        invalidate()
    now = [value for row in range(3) for value in dense(model, row).values()]
    assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))
