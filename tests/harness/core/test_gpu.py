"""What only a CUDA GPU shows: packed against solo, the CPU's masks and orders, allocated memory."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from harness.core.failure import release_memory
from harness.core.listener import PlainListener
from harness.core.method import METHODS, STRATEGIES, Method
from harness.core.spec import Spec
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.planning.plan import Plan
from harness.replicas.cuda_graph import EagerRunner, GraphRunner
from harness.replicas.dropout import Clock, CounterDropout
from methods.layers.lowrank import LowRankLinear
from methods.layers.packed import gather_entries
from results.job import run_spec as run
from tests.harness.sittings import Seen, assert_near, assert_same_bits, planned, sitting, stored
from tests.harness.small_training import protocol, rows, trainer

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")]
SMALL = {"tasks": ("rte",), "seeds": "2", "max_steps": 20, "train_rows": 64, "eval_rows": 100, "profile": False}
SMALL |= {"formats": ("csv",), "figures": ()}


def logits(out: Path, **flags: Any) -> list[np.ndarray]:
    spec = make_spec(SMALL | {"out": out} | flags)
    outcome = run(spec, "command", lambda total: PlainListener(io.StringIO(), total))
    assert outcome.failed == 0
    return [np.stack(pd.read_parquet(out / "cells" / f"{r.key}.parquet")["logits"]) for r in outcome.records]


def test_packed_solo_and_the_cpu_agree(tmp_path: Path) -> None:
    packed = logits(tmp_path / "packed", device="cuda")
    for name, flags in {"solo": {"device": "cuda", "pack": 1}, "cpu": {"device": "cpu"}}.items():
        gaps = [abs(a - b).max() for a, b in zip(packed, logits(tmp_path / name, **flags), strict=True)]
        assert max(gaps) < 1e-2, name


def test_dropout_draws_the_cpus_masks() -> None:
    x = torch.ones(6, 5, 16)
    found = []
    for device in ("cpu", "cuda"):
        drop = CounterDropout([0.1, 0.5, 0.3], "site").train()
        drop.bind(Clock.start([1, 2, 3], 16, device))
        found.append(drop(x.to(device)).cpu())
    assert torch.equal(*found) and 0.5 < float((found[0] > 0).float().mean()) < 0.9


def test_profile_is_allocated_memory(tmp_path: Path) -> None:
    spec = make_spec(SMALL | {"out": tmp_path, "device": "cuda", "profile": True, "methods": "lora,full"})
    outcome = run(spec, "command", lambda total: PlainListener(io.StringIO(), total))
    lora, full = outcome.profiles
    assert {p.peak_kind for p in outcome.profiles} == {"cuda allocated"} and lora.environment is not None
    assert lora.environment.gpu and lora.peak_bytes and full.peak_bytes and full.peak_bytes > lora.peak_bytes
    assert os.getpid() not in [*lora.shared_with, *full.shared_with]  # which has the GPU open, as it trained there
    assert all(p.samples_per_second or p.shared_with for p in outcome.profiles)


@pytest.mark.parametrize("select", [name for name, strategy in STRATEGIES if not strategy.reads_model])
def test_masks_are_the_cpus(select: str, tiny_bert: Callable[..., torch.nn.Module]) -> None:
    places = []
    for device in ("cpu", "cuda"):
        model = tiny_bert().to(device)
        trainer(model, [METHODS.get("lorasp")(select=select)], [protocol()], [3], rows().to(device))
        layers = [m for m in model.modules() if isinstance(m, LowRankLinear)]
        packed = [p for layer in layers for p in (layer.a, layer.b) if p.index is not None]
        places.append([p.index.cpu() for p in packed if p.index is not None])
    assert len(places[0]) == len(places[1]) and all(torch.equal(a, b) for a, b in zip(*places, strict=True))


def test_gathered_is_the_cpus() -> None:
    """One kernel of Triton's on a GPU: rows that are columns of a wider index, and places beyond the matrix."""
    generator = torch.Generator().manual_seed(0)
    full = torch.randn(3, 16, 130, generator=generator).bfloat16()
    places = torch.stack([torch.randperm(2080, generator=generator)[:1500] for _ in range(3)]).int() + 640
    places[1, -7:] = 5000
    index = torch.cat([places, places], dim=1)[:, 20:1520]
    expected = gather_entries(full, index, 640, False, torch.float32)
    assert torch.equal(gather_entries(full.cuda(), index.cuda(), 640, False, torch.float32).cpu(), expected)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_predicted_peak_is_the_allocators(method: str) -> None:
    from harness.planning.plan import make_plan
    from harness.profiling.capacity import Capacity
    from harness.profiling.request import ProfileRequest, build_trainer, load_alone

    flags = {"tasks": ("rte",), "seeds": "1", "methods": method, "batch_size": 32, "max_length": 128}
    plan = make_plan(make_spec(flags | {"model": ("shape:roberta-base",)}))
    step = Capacity("cuda", 0).step(plan.cells[0])
    predicted = Capacity("cuda", 0).predicted(step)
    question = ProfileRequest("", step.cells[0], step.methods[0], step.task, step.source, step.length, "cuda", None)
    others = torch.cuda.memory_allocated()
    trainer = build_trainer(question, load_alone(question), 3)
    torch.cuda.reset_peak_memory_stats()
    trainer.train_step(0)
    assert not isinstance(predicted, str)
    assert predicted.peak == pytest.approx(torch.cuda.max_memory_allocated() - others, rel=0.1)


def test_a_detailed_profile_tells_allocated_from_reserved(tmp_path: Path) -> None:
    from harness.runner.profiles import profile_methods

    spec = make_spec({"tasks": ("rte",), "seeds": "1", "methods": "lora", "device": "cuda", "out": tmp_path})
    (made,) = profile_methods(spec, 2, PlainListener(io.StringIO(), 0))
    assert made.status == "ok", made.reason
    assert all(p.allocated and p.reserved and p.allocated <= p.reserved for p in made.phases)


@pytest.mark.parametrize("methods", ["lora,lorasp", "lora:dropout=0.1,lorasp:resample=8"])
def test_a_captured_pack_goes_on_bit_by_bit(methods: str, tmp_path: Path) -> None:
    asked = planned(methods, (40, 15, 40, 30), device="cuda")
    sitting(tmp_path / "straight", asked, Seen())
    with pytest.raises(KeyboardInterrupt):
        sitting(tmp_path / "stopped", asked, Seen(until=20))
    assert "resumes from step 20" in sitting(tmp_path / "stopped", asked, Seen())
    assert_same_bits(tmp_path / "straight", tmp_path / "stopped", asked[0])


def most_for(folder: Path, asked: tuple[Plan, Spec]) -> float:
    """Train all in one pack; the fraction of the GPU that lies at three quarters of what the pack had at its peak.

    What else this process holds there (workspaces of cuBLAS) stays free to it.
    """
    release_memory()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    sitting(folder, asked, Seen())
    own = torch.cuda.max_memory_allocated() - before
    release_memory()
    total: int = torch.cuda.get_device_properties(0).total_memory
    return (torch.cuda.memory_reserved() + 0.75 * own) / total


def test_halves_go_on_where_the_whole_does_not_fit(tmp_path: Path) -> None:
    """A real shortage: that the halves fit shows that the whole was freed."""
    asked = planned("lora", (20,) * 16, seeds="16", device="cuda", batch_size=64, train_rows=640)
    torch.cuda.set_per_process_memory_fraction(most_for(tmp_path / "whole", asked))
    try:
        said = sitting(tmp_path / "short", asked, Seen())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert said.count("smaller packs") == 1 and "2 smaller packs resume from step" in said, said
    assert re.search(r"\(\S+ [KMG]iB allocated at most\)", said)
    assert [r.pack.size for r in stored(tmp_path / "short", asked[0]) if r.pack] == [8] * 16
    assert_near(tmp_path / "whole", tmp_path / "short", asked[0])


def test_want_of_memory_while_capturing_parts_the_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real shortage that begins with the capture, the second step: nothing of that step has run."""
    asked = planned("lora", (20,) * 16, seeds="16", device="cuda", batch_size=64, train_rows=640)
    most = most_for(tmp_path / "whole", asked)
    capture, widths = GraphRunner._capture, list[int]()

    def short(self: GraphRunner, key: Any, rows: torch.Tensor, shape: Any) -> bool:
        if not widths:
            torch.cuda.set_per_process_memory_fraction(most)
        widths.append(self._seen[key])
        return capture(self, key, rows, shape)

    monkeypatch.setattr(GraphRunner, "_capture", short)
    try:
        said = sitting(tmp_path / "short", asked, Seen())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "2 smaller packs resume from step" in said and "without a CUDA graph" not in said, said
    assert widths[0] == 16 and set(widths[1:]) == {8}
    assert_near(tmp_path / "whole", tmp_path / "short", asked[0])


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_recomputed_short_rows_train_as_others_do(dtype: str, tmp_path: Path) -> None:
    """Rows up to 64 tokens have an attention kernel of their own, in a captured graph, forward and backward."""
    flags = {"device": "cuda", "dtype": (dtype,), "max_length": 64, "methods": "lora,lorasp", "max_steps": 10}
    found = {}
    for how in ("none", "selective", "full"):
        found[how] = logits(tmp_path / how, recompute=(how,), **flags)
        records = Store(tmp_path / how).read()[0].values()
        assert not any("not captured" in r.extra for r in records)
    for how in ("selective", "full"):
        gaps = [abs(a - b).max() for a, b in zip(found["none"], found[how], strict=True)]
        assert max(gaps) < (1e-3 if dtype == "fp32" else 3e-2), how


def after(
    steps: int, model: torch.nn.Module, kinds: Sequence[Method], *, eager: bool, autocast: bool = False
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Train so far, as the steps come or as graphs; losses seen after each step [steps, K], and what was trained."""
    model.to("cuda").set_attn_implementation("sdpa")  # type: ignore[operator]  # eager attention's mask is no graph's
    count = len(kinds)
    made, attached = trainer(model, kinds, [protocol()] * count, range(count), rows().to("cuda"))
    made.autocast = autocast
    if eager:
        made.runner = EagerRunner(made._compute)
    seen = []
    with made.runner.stream():
        for step in range(steps):
            made.train_step(step)
            seen.append(made.losses(step).detach().cpu())
    assert made.runner.fallback is None
    return torch.stack(seen), [g.theta.detach().cpu() for g in attached.groups]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("autocast", [True, False])
def test_replayed_steps_read_what_trains_now(
    count: int, autocast: bool, tiny_bert: Callable[..., torch.nn.Module]
) -> None:
    """Against the same steps run as they come, with a look at the losses after each: that makes matrices ready too."""
    kinds = [METHODS.get("lorasp")(), METHODS.get("lora")(), METHODS.get("lorasp")(resample=3, select="row")][-count:]
    (losses, theirs), (captured, ours) = (
        after(steps=12, model=tiny_bert(dtype=torch.float32), kinds=kinds, eager=eager, autocast=autocast)
        for eager in (True, False)
    )
    torch.testing.assert_close(captured, losses, rtol=1e-3 if autocast else 1e-5, atol=1e-3 if autocast else 1e-5)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-3 if autocast else 1e-5)


def test_replayed_steps_project_on_the_present_basis(tiny_bert: Callable[..., torch.nn.Module]) -> None:
    """GaLore's basis is found anew in steps that run as they come; one that stays moves these losses by 0.017."""
    kinds = [METHODS.get("galore")(rank=2, update_every=5)]
    (losses, _), (captured, _) = (
        after(steps=18, model=tiny_bert(dtype=torch.float32), kinds=kinds, eager=eager) for eager in (True, False)
    )
    torch.testing.assert_close(losses, captured, rtol=0, atol=2e-3)


@pytest.mark.parametrize("autocast", [True, False])
def test_replayed_steps_create_their_gradients(autocast: bool, tiny_bert: Callable[..., torch.nn.Module]) -> None:
    """Full fine-tuning keeps no gradient between steps: those of a graph lie in its own pool."""
    kinds = [METHODS.get("full")()]
    (losses, theirs), (captured, ours) = (
        after(steps=12, model=tiny_bert(dtype=torch.float32), kinds=kinds, eager=eager, autocast=autocast)
        for eager in (True, False)
    )
    torch.testing.assert_close(captured, losses, rtol=1e-3 if autocast else 1e-5, atol=1e-3 if autocast else 1e-5)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-3 if autocast else 1e-5)
