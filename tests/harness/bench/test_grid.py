"""The bench of a grid: what is compared with what, and what the scores are said to show."""

from __future__ import annotations

import importlib.util
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.bench import trainer_baseline
from harness.bench.at_once import POLL_SECONDS, _wait_for_all, _wait_for_others, select_lora_cells, train_concurrently
from harness.bench.grid import compare_scores, run_harness
from harness.cli.main import main
from harness.core.cell import Cell
from harness.core.errors import UserError
from harness.core.spec_reading import make_spec
from harness.planning.plan import make_plan
from harness.training import pack_training as packrun
from tests.reports.records import cell, record

CELLS = [cell(method="lora", seed=seed) for seed in range(8)]


def said(ours: float, theirs: float, spread: float = 0.2) -> str:
    noise = spread * np.sin(np.arange(8.0))
    records = [record(ours + float(n), made) for n, made in zip(noise, CELLS, strict=True)]
    ran = [finished(made, theirs + float(n)) for n, made in zip(noise[::-1], CELLS, strict=True)]
    return compare_scores(records, CELLS, ran)


def finished(made: Cell, score: float, *, whole: bool = True) -> trainer_baseline.BaselineRun:
    return trainer_baseline.BaselineRun(made.key, 0.5, 2.0, 1.5, 1.0, 10, whole, {"accuracy": score})


def test_equivalence_needs_a_gap_well_within_the_margin() -> None:
    assert ", equivalent at 1 point" in said(80.0, 80.1)
    assert "not shown to be equivalent" in said(80.0, 82.0)
    assert "not shown to be equivalent" in said(80.0, 80.1, spread=4.0)


def test_each_seed_of_the_baseline_counts_once_and_only_when_it_trained_to_its_end() -> None:
    records = [record(80.0 + 0.1 * i, made) for i, made in enumerate(CELLS)]
    alone = [finished(made, 80.0 + 0.1 * i) for i, made in enumerate(CELLS[:2])]
    at_once = [finished(made, 79.0 + 0.1 * i) for i, made in enumerate(CELLS)]
    text = compare_scores(records, CELLS, [*alone, *at_once])
    # seeds 0 and 1 as they were one by one, 2 to 7 from the round at once
    assert f"against {np.mean([80.0, 80.1, *(79.0 + 0.1 * i for i in range(2, 8))]):.2f} (8)" in text
    cut = [finished(made, 10.0, whole=False) for made in CELLS]
    assert compare_scores(records, CELLS, [*alone, *cut]).count("against 80.05 (2)") == 1


def test_a_part_of_the_budget_scales_the_steps_alone() -> None:
    ran = finished(CELLS[0], 80.0, whole=False)
    assert ran.seconds() == 3.5 and ran.seconds(100) == pytest.approx(0.5 + 0.5 + 1.5 * 10 + 1.0)


def test_what_trainer_takes_before_its_first_step_is_none_of_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import Trainer

    spec = make_spec({"tasks": ("sst2",), "methods": "lora", "seeds": "1", "eval_rows": 40, "threads": 1})
    plan = make_plan(spec)
    loader = Trainer.get_train_dataloader

    def slow(self: Any) -> Any:
        time.sleep(0.5)
        return loader(self)

    monkeypatch.setattr(Trainer, "get_train_dataloader", slow)
    ran = trainer_baseline.train_baseline(plan.cells[0], trainer_baseline.read_cell_inputs(plan.cells[0]), "cpu", 2)
    assert 0 < ran.stepping < ran.training - 0.5


def test_seeds_without_spread_are_no_test() -> None:
    assert "no spread for a test" in said(80.0, 80.0, spread=0.0)


@pytest.mark.slow
def test_the_baseline_trains_the_same_rows_and_scores_them_in_its_own_order(tmp_path: Path) -> None:
    flags = {"tasks": ("sst2",), "methods": "lora", "seeds": "1", "max_steps": 150, "group_by_length": True}
    spec = make_spec(flags | {"threads": 1})
    plan = make_plan(spec)
    inputs = trainer_baseline.read_cell_inputs(plan.cells[0])
    ran = trainer_baseline.train_baseline(plan.cells[0], inputs, "cpu")
    ours = run_harness(plan, spec)
    assert ran.steps == 150 and ran.whole and ran.seconds() > 0 and ours.seconds > 0
    # predictions held against labels in another order would lie at half
    assert ran.scores["accuracy"] > 70 and ours.records[0].scores["accuracy"] > 70
    assert ran.scores["accuracy"] == pytest.approx(ours.records[0].scores["accuracy"], abs=12)


def test_the_baseline_reads_both_texts_of_a_pair_as_ours_do() -> None:
    plan = make_plan(make_spec({"tasks": ("rte",), "methods": "lora", "seeds": "1"}))
    inputs = trainer_baseline.read_cell_inputs(plan.cells[0])
    example = plan.cells[0].data.splits["train"][0]
    expected = inputs.tokenizer(*example.texts, truncation=True, max_length=plan.cells[0].cell.protocol.max_length)
    found = trainer_baseline._build_dataset(inputs, "train")[inputs.splits["train"].example_ids.index(example.id)]
    assert {name: found[name] for name in ("input_ids", "token_type_ids")} == {
        name: expected[name] for name in ("input_ids", "token_type_ids")
    }
    assert set(found["token_type_ids"]) == {0, 1}


def test_the_default_baseline_has_the_budget_and_nothing_else_of_ours() -> None:
    from transformers import TrainingArguments

    plan = make_plan(make_spec({"tasks": ("sst2",), "methods": "lora", "seeds": "1", "group_by_length": True}))
    made_cell = plan.cells[0].cell.model_copy(update={"dtype": "bf16"})
    default, best = (
        trainer_baseline.build_arguments(made_cell, 60, "cpu", way, "unused")
        for way in trainer_baseline.BASELINE_VARIANTS[::-1]
    )
    p, plain = made_cell.protocol, TrainingArguments(output_dir="unused", use_cpu=True)
    for made in (default, best):
        assert (made.max_steps, made.per_device_train_batch_size) == (60, p.batch_size)
        assert (made.learning_rate, made.weight_decay, made.max_grad_norm) == (p.lr, p.weight_decay, p.clip)
    for field in ("bf16", "train_sampling_strategy", "per_device_eval_batch_size", "save_strategy", "logging_strategy"):
        assert getattr(default, field) == getattr(plain, field)
        assert getattr(best, field) != getattr(plain, field)


def test_the_baseline_has_what_the_user_gave_our_cells() -> None:
    asked = "lora:schedule=constant,beta1=0.8,beta2=0.9,epsilon=1e-6"
    plan = make_plan(make_spec({"tasks": ("sst2",), "methods": asked, "seeds": "1", "label_smoothing": 0.2}))
    assert select_lora_cells(plan) == list(plan.cells)
    for way in trainer_baseline.BASELINE_VARIANTS:
        made = trainer_baseline.build_arguments(plan.cells[0].cell, 60, "cpu", way, "unused")
        assert (made.adam_beta1, made.adam_beta2, made.adam_epsilon) == (0.8, 0.9, 1e-6)
        assert made.label_smoothing_factor == 0.2 and made.lr_scheduler_type == "constant_with_warmup"


def test_the_baseline_has_the_optimizer_of_our_cells(tmp_path: Path) -> None:
    from transformers import Trainer

    options = "optimizer=sgd,momentum=0.9", "optimizer=adamw_8bit"
    kinds = []
    for option in options if importlib.util.find_spec("bitsandbytes") else options[:1]:
        plan = make_plan(make_spec({"tasks": ("sst2",), "methods": f"lora:{option}", "seeds": "1"}))
        made = trainer_baseline.build_arguments(plan.cells[0].cell, 60, "cpu", "best", str(tmp_path))
        kinds.append(Trainer.get_optimizer_cls_and_kwargs(made))
    assert kinds[0][0] is torch.optim.SGD and kinds[0][1]["momentum"] == 0.9
    # Trainer's AdamW8bit is the base class with 8 bits as an argument
    assert all((kind.__name__, more["optim_bits"]) == ("AdamW", 8) for kind, more in kinds[1:])


def test_a_cell_that_fails_ends_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"tasks": ("rte",), "methods": "lora", "seeds": "2", "max_steps": 2, "eval_rows": 16, "threads": 1}
    spec = make_spec(flags)
    plan = make_plan(spec)

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("no place")

    monkeypatch.setattr(packrun, "attach_methods", broken)
    with pytest.raises(UserError, match="lora: ValueError: no place"):
        run_harness(plan, spec)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_processes_at_once_train_one_seed_each_to_the_end(count: int, capfd: pytest.CaptureFixture[str]) -> None:
    flags = {"tasks": ("sst2",), "methods": "lorasp,lora", "max_steps": 4, "eval_rows": 40, "threads": 1}
    spec = make_spec(flags | {"seeds": str(count)})
    plan = make_plan(spec)
    ran = train_concurrently(spec, count, 4, "cpu")
    assert [r.key for r in ran] == [c.key for c in select_lora_cells(plan)] and all(r.whole for r in ran)
    alone = trainer_baseline.train_baseline(
        select_lora_cells(plan)[-1], trainer_baseline.read_cell_inputs(plan.cells[0]), "cpu"
    )
    assert ran[-1].scores == alone.scores
    assert capfd.readouterr().err == ""


def test_processes_at_once_wait_for_each_other(tmp_path: Path) -> None:
    ready: list[str] = []

    def arrive(name: str) -> None:
        _wait_for_others(tmp_path, name, 3)
        ready.append(name)

    threads = [threading.Thread(target=arrive, args=(name,), daemon=True) for name in "012"]
    for thread in threads[:2]:
        thread.start()
    time.sleep(3 * POLL_SECONDS)
    assert ready == []
    threads[2].start()
    for thread in threads:
        thread.join(60)
    assert sorted(ready) == ["0", "1", "2"]


def test_a_process_that_fails_ends_those_that_would_wait_for_it() -> None:
    broken, waiting = (subprocess.Popen(["sh", "-c", code], text=True) for code in ("exit 3", "sleep 100"))
    with pytest.raises(RuntimeError, match="baseline process 1 of 2 ended with 3"):
        _wait_for_all([waiting, broken])
    waiting.kill()
    waiting.wait()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--methods", "lorasp"], "add lora"),
        (["--methods", "lora", "--baseline", "worst"], "allowed: best, default"),
        (["--methods", "lora", "--at-once", "two"], "--at-once two: allowed: whole numbers"),
        (["--methods", "lora", "--tasks", "rte,cola"], "compares one task, not cola, rte"),
        (["--methods", "lora", "--suite", "wmt16", "--tasks", "en-ro"], "en-ro is none"),
        (["--methods", "lora", "--quantize", "sim3"], "quantize=none"),
        (["--methods", "lora", "--recompute", "full"], "recompute=none"),
        (["--methods", "lora", "--dtype", "fp32,bf16"], "one dtype"),
        (["--methods", "lora", "--tune", "2"], "--tune"),
        (["--methods", "lora", "--out", "nowhere/grid.json"], "--out nowhere/grid.json: give a file in a folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(more: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "grid", "--seeds", "1", "--max-steps", "1", *more]) == 2
    assert says in capsys.readouterr().err
