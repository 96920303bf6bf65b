"""Optimizers by name: flags, options of methods, keys of cells, plugins, and what is refused before training."""

from __future__ import annotations

import importlib.util
import re
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.cli.main import main
from harness.core.cell import Cell
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.planning.packs import group_cells
from harness.planning.plan import make_plan
from tests.harness.test_plugins import registered

SHORT = "--tasks rte --seeds 1 --max-steps 4 --eval-rows 16 --no-profile --formats md,csv --figures".split()
SHORT.append("")


def plan_cells(methods: str = "lora", **flags: Any) -> list[Cell]:
    spec = make_spec({"tasks": ("rte",), "methods": methods, "seeds": "1"} | flags)
    return [planned.cell for planned in make_plan(spec).cells]


def test_the_default_leaves_keys_as_they_are() -> None:
    (plain,), (named,), (sgd,) = plan_cells(), plan_cells(optimizer="adamw"), plan_cells(optimizer="sgd")
    (momentum,) = plan_cells(optimizer="sgd", momentum=0.9)
    assert plain.key == named.key and len({plain.key, sgd.key, momentum.key}) == 3
    assert plain.protocol.optimizer == "adamw" and plain.parts == {}
    content = plain.model_dump(mode="json", exclude_defaults=True)
    assert not {"optimizer", "momentum"} & set(content["protocol"])
    assert [c.key for c in plan_cells("lora:optimizer=sgd,momentum=0.9")] == [momentum.key]


def test_a_flag_is_for_the_methods_whose_optimizer_reads_it() -> None:
    cells = plan_cells("lora,lora:optimizer=sgd,lora:optimizer=sgd,momentum=0.5", momentum=0.9)
    assert [(c.protocol.optimizer, c.protocol.momentum) for c in cells] == [("adamw", 0.0), ("sgd", 0.9), ("sgd", 0.5)]
    assert cells[0].key == plan_cells()[0].key


def test_a_pack_has_one_optimizer() -> None:
    spec = make_spec({"tasks": ("rte",), "methods": "lora:optimizer=sgd|adamw,lorasp:optimizer=sgd", "seeds": "2"})
    packs = group_cells(make_plan(spec).cells, 32)
    assert sorted((pack.first.cell.protocol.optimizer, len(pack.cells)) for pack in packs) == [("adamw", 2), ("sgd", 4)]


PLUGIN = '''
from harness.contracts import OPTIMIZERS, Optimizer


@OPTIMIZERS.register("standstill")
class Standstill(Optimizer):
    """It keeps the parameters as they are."""

    name = "standstill"
    summary = "no step at all"
    reads = ()

    def compute_step(self, gradient, moments, values):
        return gradient * 0.0
'''


def test_an_optimizer_is_one_file(tmp_path: Path) -> None:
    plugin = tmp_path / "standstill.py"
    plugin.write_text(PLUGIN)
    flags = ["--optimizer", "standstill", "--plugin", str(plugin), "--out", str(tmp_path / "out"), "--seeds", "2"]
    with registered():
        assert main(["run", "--methods", "lora,head", *SHORT, *flags]) == 0
    records = list(Store(tmp_path / "out").read()[0].values())  # without the plugin
    assert len(records) == 4 and {r.status for r in records} == {"ok"}
    for record in records:
        assert record.cell.protocol.optimizer == "standstill" and record.cell.parts["optimizer standstill"]
        assert record.train_state is not None and record.train_state.optimizer == 0
    scores = {(r.cell.method, r.cell.seeds["head"]): r.scores for r in records}
    # B starts at zero, so without a step and without weight decay both are the same model
    assert all(scores["lora", seed] == scores["head", seed] for seed in (0, 1))


def test_a_run_in_8_bits_says_so(tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    words = ["--methods", "lora:rank=64,optimizer=adamw|adamw_8bit", "--out", str(tmp_path / "out")]
    assert main(["run", *SHORT, *words]) == 0
    states = {}
    for record in Store(tmp_path / "out").read()[0].values():
        assert record.status == "ok" and record.train_state is not None
        states[record.cell.protocol.optimizer] = record.train_state
    # each A and B has 4,096 entries: 2 bytes each and 8 for a block of 256; the head has few, so 8 bytes in 32 bits
    weights, head = states["adamw"].weights, 4 * 130
    assert states["adamw"].optimizer == 2 * weights
    assert states["adamw_8bit"].optimizer == (weights - head) // 4 * 2 + (weights - head) // 4 // 256 * 8 + 2 * head
    report = (tmp_path / "out" / "report" / "report.md").read_text()
    assert "optimizer=adamw\\_8bit" in report or "optimizer=adamw_8bit" in report
    assert re.search(r"\| *optimizer *\|", report)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--optimizer", "sdg"], "unknown optimizer 'sdg': did you mean 'sgd'?"),
        (["--methods", "lora:optimizer=adam"], "did you mean 'adamw'?"),
        (["--optimizer", "sgd", "--momentum", "1"], "momentum='1.0': input should be less than 1"),
        (["--optimizer", "sgd", "--momentum", "-0.1"], "momentum='-0.1': input should be greater than or equal to 0"),
        (["--methods", "lora:optimizer=sgd,momentum=1.5"], "momentum=1.5: input should be less than 1"),
        (["--momentum", "0.9"], "has no effect on optimizer 'adamw'"),
        (["--methods", "lora:momentum=0.9"], "leave it out, or use sgd"),
        (["--methods", "lora:optimizer=sgd,beta1=0.5"], "beta1=0.5: has no effect on optimizer 'sgd'"),
        (["--optimizer", "paged_adamw_32bit", "--device", "cpu"], "pages the memory of a GPU: give --device cuda"),
        (["--optimizer", "paged_adamw_8bit", "--device", "cpu"], "or use adamw_8bit"),
    ],
)
def test_refusals(words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    methods = [] if "--methods" in words else ["--methods", "lora"]
    assert main(["run", *SHORT, *methods, *words, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1 and not list(tmp_path.glob("cells/*"))


def test_a_missing_package_and_a_missing_kernel_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec

    def find_none(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == "bitsandbytes" else find(name, package)

    words = ["run", *SHORT, "--methods", "lora", "--device", "cpu", "--optimizer", "adamw_8bit", "--out", str(tmp_path)]
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", find_none)
        assert main(words) == 2
    error = capsys.readouterr().err
    assert "needs bitsandbytes: pip install" in error and error.count("\n") == 1
    pytest.importorskip("bitsandbytes")
    monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda operator, key: False)
    assert main(words) == 2
    error = capsys.readouterr().err
    assert "runs it on a GPU only" in error and error.count("\n") == 1 and not list(tmp_path.glob("cells/*"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("name", ["adamw_8bit", "paged_adamw_32bit", "paged_adamw_8bit"])
def test_a_run_on_a_gpu_profiles_and_says_why_no_graph_holds_its_steps(name: str, tmp_path: Path) -> None:
    words = [word for word in SHORT if word != "--no-profile"]
    methods = ["--methods", "lora:rank=64,full", "--optimizer", name, "--device", "cuda"]
    assert main(["run", *words, *methods, "--out", str(tmp_path)]) == 0
    records, profiles = Store(tmp_path).read()[0], Store(tmp_path).read_profiles()[0]
    assert all(r.status == "ok" and name in r.extra["not captured"] for r in records.values())
    assert profiles and all(p.status == "ok" and name in (p.reason or "") for p in profiles.values())
