"""Two runs held against each other, with scipy as the reference for seed noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from harness.cli.main import main
from harness.core.record import Record
from reports.changes import compare_runs
from tests.reports.records import ENVIRONMENT, cell, record, store_of

BEFORE = [60.0, 62.0, 64.0, 61.0, 63.5]


def run(scores: list[float], task: str = "cola", method: str = "lora", **fields: object) -> list[Record]:
    return [record(value, cell(task, method, seed, **fields)) for seed, value in enumerate(scores)]


def test_seed_noise_is_what_the_paired_t_test_says() -> None:
    rng = np.random.default_rng(0)
    readings = []
    for shift in (0.0, 0.3, 1.0, 3.0):
        after = [b + shift + float(rng.normal(0, 1.0)) for b in BEFORE]
        (gap,) = compare_runs(run(BEFORE), run(after, method_version=2)).gaps
        assert gap.difference.mean == pytest.approx(np.mean(after) - np.mean(BEFORE)) and gap.difference.n == 5
        assert gap.within_noise == (stats.ttest_rel(after, BEFORE).pvalue > 0.05)
        readings.append(gap.within_noise)
    assert set(readings) == {True, False}


def test_a_new_version_of_the_code_still_pairs_and_is_named() -> None:
    environment = ENVIRONMENT.model_copy(update={"commit": "b" * 40, "torch": "2.14"})
    after = [r.model_copy(update={"environment": environment}) for r in run(BEFORE, method_version=2)]
    found = compare_runs(run(BEFORE), after)
    assert found.pairing.startswith("cell") and found.alone == (0, 0)
    told = {(c.part, c.what): (c.a, c.b) for c in found.changes}
    assert told == {
        ("code", "method lora"): (("1",), ("2",)),
        ("code", "commit"): (("None",), ("b" * 40,)),
        ("environment", "torch"): (("2.13",), ("2.14",)),
    }
    assert [gap.reading for gap in found.gaps] == ["the same"]


def test_a_cell_with_two_possible_partners_has_none() -> None:
    """B holds two rates of the method: which of them is A's is not to be guessed, the rest still pairs."""
    before = run(BEFORE) + run([70.0, 71.0], method="lorasp")
    after = [r for lr in (2e-3, 3e-3) for r in run([b + 9 for b in BEFORE], protocol={"lr": lr})]
    after += run([70.5, 71.0], method="lorasp", protocol={"lr": 2e-3})
    found = compare_runs(before, after)
    assert [gap.place[2] for gap in found.gaps] == ["lorasp"] and found.alone == (5, 10)
    assert len(found.lost) == 5


def test_other_data_or_protocol_pairs_by_task_method_and_seed() -> None:
    after = run([b + 1 for b in BEFORE], data="other rows", protocol={"lr": 2e-3})
    found = compare_runs(run(BEFORE), after)
    assert found.pairing == "task, method, precision and seeds" and found.gaps[0].difference.mean == pytest.approx(1.0)
    told = {(c.part, c.what): (c.a, c.b) for c in found.changes}
    assert told["data", "cola"] == (("rows of cola"[:12],), ("other rows",))
    assert told["spec", "lr of lora"] == (("0.001",), ("0.002",))


def test_precisions_are_kept_apart_and_paired_across_only_where_nothing_else_is() -> None:
    both = run(BEFORE) + run([1.0, 2.0], dtype="bf16")
    gaps = compare_runs(both, both).gaps
    assert [(gap.place[2], gap.difference.n) for gap in gaps] == [("lora [dtype=fp32]", 5), ("lora [dtype=bf16]", 2)]
    found = compare_runs(run(BEFORE), run(BEFORE, dtype="bf16"))
    assert found.pairing == "task, method and seeds" and found.gaps[0].difference.n == 5


def test_cells_of_one_run_only_are_counted_and_named() -> None:
    found = compare_runs(run(BEFORE) + run([1.0], "rte"), run(BEFORE[:3]) + run([1.0, 2.0], method="full"))
    assert found.alone == (3, 2) and [gap.place for gap in found.gaps] == [("glue", "cola", "lora")]
    told = {(c.part, c.what): (c.a, c.b) for c in found.changes}
    assert told["spec", "task"] == (("rte",), ()) and told["spec", "method"] == ((), ("full",))


def test_a_limit_with_nothing_to_judge_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = store_of(tmp_path / "a", run(BEFORE)), store_of(tmp_path / "b", run(BEFORE, task="rte"))
    assert main(["compare", str(a), str(b), "--fail-if-worse", "0.5"]) == 2
    assert "no cell in common" in capsys.readouterr().err
    assert main(["compare", str(a), str(b)]) == 1


@pytest.mark.parametrize("other", [{"data": "0" * 64}, {"model": {"name": "other", "revision": "f" * 40}}])
def test_a_limit_over_other_data_or_another_model_is_refused(
    other: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = store_of(tmp_path / "a", run(BEFORE)), store_of(tmp_path / "b", run(BEFORE, **other))
    assert main(["compare", str(a), str(b), "--fail-if-worse", "0.5"]) == 2
    (field,) = other
    assert f"glue cola has {field} " in capsys.readouterr().err
    assert main(["compare", str(a), str(b)]) == 0


@pytest.mark.parametrize(
    ("after", "worse"),
    [
        ([b - 1.0 + 0.01 * i for i, b in enumerate(BEFORE)], True),  # clear
        ([b - 0.3 + 0.01 * i for i, b in enumerate(BEFORE)], False),  # clear, but less than is asked
        ([40.0, 62.0, 64.0, 66.0, 63.5], False),  # far, but within noise
        ([b - 1.0 for b in BEFORE], True),  # without any spread
        ([b + 9.0 for b in BEFORE], False),
    ],
)
def test_exit_code(after: list[float], worse: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = store_of(tmp_path / "a", run(BEFORE)), store_of(tmp_path / "b", run(after, method_version=2))
    assert main(["compare", str(a), str(b), "--fail-if-worse", "0.5"]) == int(worse)
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"worse by more than 0.5 points beyond seed noise: {'glue cola lora' if worse else 'none'}"
    assert main(["compare", str(a), str(b)]) == 0
    capsys.readouterr()
    assert main(["compare", str(a), str(b), "--fail-if-worse", "0.5", "--json"]) == int(worse)
    answer = json.loads(capsys.readouterr().out)
    assert answer["worse"] == ([["glue", "cola", "lora"]] if worse else [])
    assert answer["scores"][0]["difference"] == pytest.approx(np.mean(after) - np.mean(BEFORE))


def test_a_cell_that_b_has_no_score_of_is_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Failed, out of memory, or not there: the others gain, and the exit code is 1 all the same."""
    after = run([b + 1 for b in BEFORE], method_version=2)
    failed = after[0].model_copy(update={"status": "failed", "reason": "ValueError: on purpose", "scores": {}})
    oom = after[1].model_copy(update={"status": "oom", "reason": "out of memory", "scores": {}})
    a, b = store_of(tmp_path / "a", run(BEFORE)), store_of(tmp_path / "b", [failed, oom, after[2], after[4]])
    assert main(["compare", str(a), str(b), "--fail-if-worse", "0.5"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2] == (
        "scored in A, without a score in B: glue cola lora seed 0: ValueError: on purpose, "
        "glue cola lora seed 1: out of memory, glue cola lora seed 3: not there"
    )
    assert lines[-1].endswith("none")
    assert main(["compare", str(a), str(b), "--fail-if-worse", "0.5", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert [cell["seeds"] for cell in answer["lost"]] == ["0", "1", "3"] and answer["worse"] == []
    assert main(["compare", str(b), str(a), "--fail-if-worse", "0.5"]) == 1  # a point less on the shared cells
    assert "without a score" not in capsys.readouterr().out
    every = store_of(tmp_path / "c", [failed])
    assert main(["compare", str(a), str(every), "--fail-if-worse", "0.5"]) == 1


def test_intervals_say_what_they_hold_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """32 cells at 5 % each: some exclude 0 by chance."""
    both = [*run(BEFORE), *run(BEFORE, task="rte")]
    folders = [store_of(tmp_path / name, records) for name, records in (("a", both), ("b", both), ("c", run(BEFORE)))]
    said = []
    for other in folders[1:]:
        assert main(["compare", str(folders[0]), str(other)]) == 0
        said.append(next(line for line in capsys.readouterr().out.splitlines() if line.startswith("intervals are")))
    assert "new seeds, these examples" in said[0] and said[0].endswith("(no correction is made)")
    assert said[1].endswith("of one comparison")


def test_a_lone_pair_is_not_said_to_lie_beyond_seed_noise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = store_of(tmp_path / "a", run(BEFORE[:1])), store_of(tmp_path / "b", run([BEFORE[0] - 1], method_version=2))
    assert main(["compare", str(a), str(b), "--fail-if-worse", "0.5"]) == 1
    last = capsys.readouterr().out.splitlines()[-2:]
    assert last[0].endswith("in one pair, which tells nothing of seed noise: glue cola lora")
    assert last[1] == "worse by more than 0.5 points beyond seed noise: none"


def test_what_lies_within_noise_says_what_would_not() -> None:
    after = [b + gap for b, gap in zip(BEFORE, (0.5, -0.5, 1.0, -1.0, 0.4), strict=True)]
    (gap,) = compare_runs(run(BEFORE), run(after, method_version=2)).gaps
    power = TTestPower()
    spread = float(np.std(np.subtract(after, BEFORE), ddof=1))
    found = power.solve_power(nobs=5, alpha=0.05, power=0.8) * spread
    start = f"within seed noise; minimum detectable difference (80 % power) {found:.1f} points ("
    assert gap.reading.startswith(start) and "seeds needed for 0.080 points" in gap.reading
    (gap,) = compare_runs(run(BEFORE), run([b + d for b, d in zip(BEFORE, (1, -1, 2, 0, 1), strict=True)])).gaps
    seeds = power.solve_power(effect_size=0.6 / np.std((1, -1, 2, 0, 1), ddof=1), alpha=0.05, power=0.8)
    assert f"seeds needed for 0.60 points: {np.ceil(seeds):.0f} (" in gap.reading


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    assert main(["compare", str(store_of(tmp_path / "a", run(BEFORE))), str(tmp_path / "b")]) == 2


def test_collapsed_runs_of_both_sides_are_counted() -> None:
    after = [*BEFORE[:4], 20.0]  # below the majority baseline of 50
    (gap,) = compare_runs(run(BEFORE), run(after, method_version=2)).gaps
    assert gap.collapsed == (0, 1) and "0 of 5 in A, 1 of 5 in B" in gap.reading


def test_of_hundreds_of_differences_the_large_ones_are_listed() -> None:
    """Two of 100 methods changed: they are among the 40 lines, and a line says how to see the others."""
    before, after = [], []
    for place in range(100):
        options = {"rank": place + 1}
        before += run(BEFORE, options=options)
        shift = 5.0 if place in (3, 97) else 0.0
        after += run([b + shift + n for b, n in zip(BEFORE, (0.1, -0.1, 0.0, 0.2, -0.2), strict=True)], options=options)
    found = compare_runs(before, after)
    lines = list(found.lines("a", "b", 0.5))
    listed = [line for line in lines if line.startswith("glue cola")]
    assert len(found.gaps) == 100 and len(listed) == 40
    assert [line.split(":")[1] for line in listed if "interval excludes 0" in line] == ["rank=4", "rank=98"]
    assert any("40 of 100 differences are listed" in line and "--json" in line for line in lines)
