"""The guides of docs/extending.md: each block is written to its file and used as the page says."""

from __future__ import annotations

import csv
import json
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

import results
from harness.cli.main import main
from harness.cli.plugin_templates import BODIES, TESTS
from harness.core.protocol import Protocol
from harness.core.registry import load_all, load_package
from harness.core.spec_reading import make_spec
from harness.core.store import Store
from harness.planning.plan import make_plan
from harness.planning.schedule import compute_learning_rates
from harness.replicas.groups import ParameterGroup
from harness.replicas.optimizer import build_optimizer
from reports.registered import TABLES
from tests.harness.test_plugins import registered

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCKS = dict(re.findall(r"[Pp]ut (?:this|it) in `(\w+\.py)`:\n\n```python\n(.*?)```", PAGE, re.S))
SHORT = "--max-steps 2 --eval-rows 20 --train-rows 32 --no-profile --formats md --figures png".split()


@pytest.fixture(autouse=True)
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, block in BLOCKS.items():
        (tmp_path / name).write_text(block)
    monkeypatch.chdir(tmp_path)
    with registered():
        yield


def find_command(start: str) -> list[str]:
    """The words behind `python -m harness` of the page's command that starts so."""
    (line,) = re.findall(rf"^    python -m harness ({re.escape(start)}.*)$", PAGE, re.M)
    return shlex.split(str(line))


def test_every_block_of_the_page_is_used_here() -> None:
    assert set(BLOCKS) == {
        *("first.py", "norm_scale.py", "reviews.py", "best_seed.py"),
        *("short.py", "largest_first.py", "halves.py", "lion.py"),
    }
    assert PAGE.count("```python") == len(BLOCKS)


def test_strategy_in_ten_lines() -> None:
    assert len(BLOCKS["first.py"].strip().splitlines()) <= 10
    assert main([*find_command("run --plugin first.py"), *SHORT, "--out", "out"]) == 0
    assert "lorasp:select=first" in Path("out/report/report.md").read_text()
    assert main(find_command("strategies")) == 0


def test_method_trains_the_factors_of_each_norm_and_packs() -> None:
    assert main([*find_command("run --plugin norm_scale.py"), *SHORT, "--out", "out"]) == 0
    config = json.loads((ROOT / "suites/embedded/models/encoder/config.json").read_text())
    norms = 1 + 2 * config["num_hidden_layers"]  # BERT: one behind the embeddings, two in each layer
    frame = results.load("out").query("method == 'norm-scale'")
    assert set(frame.adapter_trained) == {norms * config["hidden_size"]} and len(frame) == 3


def test_method_scores_alone_as_in_a_pack() -> None:
    words = [*find_command("run --plugin norm_scale.py"), *SHORT]
    scores = []
    for pack in ("1", "8"):
        assert main([*words, "--methods", "norm-scale", "--pack", pack, "--out", f"out{pack}"]) == 0
        scores.append(results.load(f"out{pack}").set_index("seed").value.sort_index())
    assert scores[0].equals(scores[1])


def test_method_starts_at_the_pretrained_model() -> None:
    import torch

    layer = torch.nn.LayerNorm(8)
    torch.nn.init.normal_(layer.weight)
    leaf = type("Leaf", (), {"tensor": torch.zeros(2, 8)})()
    scaled = runpy.run_path("norm_scale.py")["ScaledNorm"](layer, leaf)
    rows = torch.randn(4, 3, 8)
    assert torch.equal(scaled(rows), layer(rows))
    leaf.tensor[1] = 0.5  # replica 1 owns rows 2 and 3
    torch.testing.assert_close(scaled(rows), layer(rows) * torch.tensor([1, 1, 1.5, 1.5])[:, None, None])


def test_suite_reads_the_users_files_and_scores_its_metric(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*find_command("run --plugin reviews.py"), *SHORT, "--methods", "lora", "--seeds", "2", "--out", "out"]
    Path("DATA").mkdir()
    assert main(words) == 2 and "--data-dir" in capsys.readouterr().err
    for split, count in (("train", 40), ("dev", 25)):
        with Path(f"DATA/{split}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("text", "label"))
            writer.writerows((f"we like film {n}", ("negative", "positive")[n % 3 > 0]) for n in range(count))
    assert main(words) == 0
    frame = results.load("out")
    assert set(frame.metric) == {"balanced_accuracy"} and set(frame.majority) == {50.0}


def test_metric_of_the_suite_is_the_one_of_scikit_learn() -> None:
    metric = runpy.run_path("reviews.py", run_name="guide")["BalancedAccuracy"]()
    rng = np.random.default_rng(0)
    for _ in range(5):
        predictions, targets = rng.integers(0, 2, (3, 30)), rng.integers(0, 2, 30)
        weights = rng.integers(1, 4, (4, 30))
        weighted = metric.compute_weighted(predictions, targets, weights)
        for replica, own in enumerate(predictions):
            assert metric.compute(own, targets) == pytest.approx(100 * balanced_accuracy_score(targets, own))
            for draw, weight in enumerate(weights):
                expected = 100 * balanced_accuracy_score(targets, own, sample_weight=weight)
                assert weighted[draw, replica] == pytest.approx(expected)


def test_table_is_in_the_report(monkeypatch: pytest.MonkeyPatch) -> None:
    load_package("reports.tables")
    monkeypatch.setattr(TABLES, "_items", dict(TABLES._items))  # as at the end of a process
    assert main(["run", "--tasks", "rte", "--methods", "lora", "--seeds", "3", *SHORT, "--out", "RUN"]) == 0
    assert main([*find_command("report RUN"), "--formats", "md,csv", "--figures", "png"]) == 0
    assert "### Best seeds" in Path("RUN/report/report.md").read_text()
    values = results.load("RUN").value
    with Path("RUN/report/table-best-seeds.csv").open(newline="") as file:
        (row,) = list(csv.DictReader(file))
    assert float(row["best"]) == pytest.approx(values.max())
    assert float(row["range"]) == pytest.approx(values.max() - values.min())


def test_preset_is_what_its_values_are_as_flags(capsys: pytest.CaptureFixture[str]) -> None:
    words = find_command("run --plugin short.py")
    assert main([*words, *SHORT, "--out", "out"]) == 0
    plans = []
    same = "run --methods lora,lorasp --tasks rte --epochs 1 --max-steps 20 --batch-size 8 --warmup 0.06".split()
    for flags in (words, same):
        spec = make_spec(read_flags(flags))
        plans.append([(cell.key, cell.cell.protocol.lr_source) for cell in make_plan(spec).cells])
    assert plans[0] == plans[1] and len(plans[0]) == 10
    assert main([*words[:3], "--preset", "shrot"]) == 2
    assert "'short'" in capsys.readouterr().err


def read_flags(words: list[str]) -> dict[str, Any]:
    """The flags of a command line as fields of Spec."""
    pairs = zip(words[1::2], words[2::2], strict=True)
    return {name[2:].replace("-", "_"): (value,) if name == "--plugin" else value for name, value in pairs}


@pytest.mark.slow
def test_executor_trains_the_largest_pack_first(capsys: pytest.CaptureFixture[str]) -> None:
    words = find_command("run --plugin largest_first.py")
    more = ["--methods", "lora,lorasp:frozen=int8,lora:rank=4", *SHORT]
    assert main([*words, *more, "--out", "out"]) == 0
    cells = [int(n) for n in re.findall(r"^(?:rte|cola): (\d+) cells, 2 steps$", capsys.readouterr().err, re.M)]
    assert cells == [6, 6, 3, 3]
    assert main(["run", *words[3:5], *words[5:], *more, "--executor", "local", "--out", "local"]) == 0
    own, local = (results.load(out).set_index(["task", "method", "seed"]).value for out in ("out", "local"))
    assert own.sort_index().equals(local.sort_index()) and len(own) == 18


@pytest.mark.parametrize("source", ["page", *sorted({**BODIES, **TESTS})])
def test_everything_of_the_harness_is_imported_from_its_contracts(source: str) -> None:
    texts = list(BLOCKS.values()) if source == "page" else [BODIES[source], TESTS[source]]
    for text in texts:
        lines = re.findall(r"^(?:from|import) harness\b.*", text, re.M)
        assert all(line.startswith("from harness.contracts import") for line in lines), lines


def test_schedule_halves_the_rate_and_trains() -> None:
    assert main([*find_command("run --plugin halves.py"), *SHORT, "--out", "out"]) == 0
    assert main(find_command("plan --plugin halves.py")) == 0
    (record, *_) = Store(Path("out")).read()[0].values()
    assert record.status == "ok" and record.cell.protocol.schedule == "halves" and record.cell.parts["schedule halves"]
    assert compute_learning_rates(Protocol(lr=2.0, schedule="halves", warmup=0), 4) == [2.0, 2.0, 1.0, 1.0]


def test_optimizer_is_bitsandbytes_lion_for_each_replica() -> None:
    import torch

    bitsandbytes = pytest.importorskip("bitsandbytes")
    load_all([Path("lion.py")])
    betas, decays = ((0.9, 0.99), (0.8, 0.7)), (0.1, 0.0)
    protocols = [
        Protocol(lr=1.0, optimizer="lion", beta1=betas[k][0], beta2=betas[k][1], weight_decay=decays[k], clip=1e6)
        for k in range(2)
    ]
    values = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    group = ParameterGroup("adapter", [("weight", values.clone())], [50, 50])
    ours = build_optimizer([group], protocols, [[0.1, 0.2, 0.05, 0.1]] * 2)
    theirs = [torch.nn.Parameter(row.clone()) for row in values]
    optimizers = [
        bitsandbytes.optim.Lion([parameter], betas=betas[k], weight_decay=decays[k])
        for k, parameter in enumerate(theirs)
    ]
    for step, rate in enumerate(ours.rates[0]):
        gradients = torch.randn(2, 50, generator=torch.Generator().manual_seed(1 + step))
        group.grad.copy_(gradients)
        ours.step()
        for k, parameter in enumerate(theirs):
            parameter.grad = gradients[k].clone()
            optimizers[k].param_groups[0]["lr"] = rate
            optimizers[k].step()
    torch.testing.assert_close(group.theta.detach(), torch.stack([p.detach() for p in theirs]))


def test_optimizer_trains() -> None:
    assert main([*find_command("run --plugin lion.py"), *SHORT, "--out", "out"]) == 0
    assert main(find_command("plan --plugin lion.py")) == 0
    (record, *_) = Store(Path("out")).read()[0].values()
    assert record.status == "ok" and record.cell.protocol.optimizer == "lion" and record.cell.parts["optimizer lion"]
    assert record.train_state is not None and record.train_state.optimizer == record.train_state.weights
