"""Results of peft's method comparison: what is read, what is tested, and what is said about both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from results.imports.base import AnsweredRows, Collected, Content
from results.imports.peft_method_comparison import PeftMethodComparison
from tests.results.imports.files import QUESTIONS, image_run, peft_run, write_peft

LORA = "lora/llama-3.2-3B-rank32"
NEW, LATER = "2026-07-01T10:00:00+00:00", "2026-07-02T10:00:00+00:00"


def read(folder: Path, *runs: dict[str, Any]) -> Collected:
    return PeftMethodComparison().read(write_peft(folder, runs))


def describe(collected: Collected, baseline: str | None = None) -> Content:
    rows = [row for row, _ in collected.rows]
    return PeftMethodComparison().describe(AnsweredRows(rows, lambda row: None), baseline)


def test_a_row_has_what_the_file_says(tmp_path: Path) -> None:
    ((row, answers),) = read(tmp_path, peft_run("dora/rank8", 400, lr=2e-4)).rows
    assert answers is None and row.status == "ok"
    assert (row.benchmark, row.name, row.model) == ("MetaMathQA", "dora/rank8", "org/base-1B")
    assert row.scores == {"test accuracy": 400 / QUESTIONS, "train loss": 0.7, "forgetting": 0.05}
    assert (row.score, row.questions, row.hardware) == (400 / QUESTIONS, QUESTIONS, "a GPU")
    assert row.settings["train_config"]["optimizer_kwargs"]["lr"] == 2e-4
    assert row.settings["peft_config"]["r"] == 8
    assert row.software == {"torch": "2.9.0", "transformers": "5.1.0"}
    assert row.costs["memory_max_bytes"] == 20 * 2**30 and row.costs["trainable_parameters"] == 9175040
    assert (row.costs["train_seconds"], row.costs["total_seconds"]) == (150.25, 200.5)
    assert row.loss_curve == [(250, 0.9), (500, 0.7)]
    assert row.provenance.file == "0.json" and row.provenance.source == "peft-method-comparison"


def test_memory_has_its_earlier_name_too(tmp_path: Path) -> None:
    old = peft_run("a", 400)
    training = old["train_info"]
    for name in [name for name in training if name.startswith("accelerator_")]:
        training[name.replace("accelerator_", "cuda_")] = training.pop(name)
    old["meta_info"]["system_info"] = {"gpu": "an older GPU"}
    ((row, _),) = read(tmp_path, old).rows
    assert row.costs["memory_max_bytes"] == 20 * 2**30 and row.hardware == "an older GPU"


def test_tests_are_those_of_scipy_and_statsmodels(tmp_path: Path) -> None:
    right = {LORA: 631, "a": 694, "b": 677, "c": 500, "d": 631}
    comparisons = pd.DataFrame(
        describe(read(tmp_path, *(peft_run(n, r) for n, r in right.items()))).flat["comparisons"]
    )
    tested = comparisons[comparisons["p"].notna()].set_index("row")
    assert set(tested.index) == set(right) - {LORA}
    for name, row in tested.iterrows():
        table = [[right[str(name)], QUESTIONS - right[str(name)]], [631, QUESTIONS - 631]]
        assert row["p"] == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue, rel=1e-9)
        assert row["difference"] == pytest.approx(100 * (right[str(name)] - 631) / QUESTIONS)
    assert tested["p_adjusted"].to_numpy() == pytest.approx(multipletests(tested["p"], method="holm")[1])


def test_the_summary_counts_what_passes_before_and_after_correction(tmp_path: Path) -> None:
    rows = [peft_run(LORA, 631), peft_run("a", 694), *(peft_run(f"b{i}", 640 + i) for i in range(10))]
    text = " ".join(describe(read(tmp_path, *rows)).sentences)
    assert "11 of 11 rows are above" in text and "631 of 1,319" in text
    assert "1 of them with p < 0.05 (a, +4.8, p = 0.014" in text and ", 0 after Holm" in text
    assert "seed 0" in text


def test_rows_of_other_software_are_not_tested(tmp_path: Path) -> None:
    content = describe(read(tmp_path, peft_run(LORA, 631), peft_run("a", 900, torch="2.13.0")))
    (row,) = [one for one in content.flat["comparisons"] if one["row"] == "a"]
    assert row["p"] is None and row["difference"] is None and "2.13.0" in row["note"]
    assert any("No row can be tested against" in sentence for sentence in content.sentences)


def test_an_older_row_is_compared_with_the_baseline_of_its_time(tmp_path: Path) -> None:
    runs = [peft_run(LORA, 600), peft_run(LORA, 500, NEW, torch="2.13.0"), peft_run("a", 610)]
    (row,) = [one for one in describe(read(tmp_path, *runs)).flat["comparisons"] if one["row"] == "a"]
    assert row["difference"] == pytest.approx(1000 / QUESTIONS)


def test_reruns_have_their_range_and_the_shift_between_versions(tmp_path: Path) -> None:
    before = {LORA: 600, **{f"a{i}": 500 + i for i in range(6)}}
    runs = [peft_run(name, right) for name, right in before.items()]
    runs += [peft_run(name, right - 20, NEW, torch="2.13.0") for name, right in before.items()]
    runs.append(peft_run("a0", 483, LATER, torch="2.13.0"))
    content = describe(read(tmp_path, *runs))
    reruns = {row["row"]: row for row in content.flat["reruns"]}
    assert len(reruns) == 7 and reruns["a0"]["runs"] == 3
    assert reruns["a0"]["range"] == pytest.approx(2000 / QUESTIONS)
    shift, same = sorted(content.flat["software"], key=lambda one: -one["pairs of runs"])
    assert shift["mean change"] == pytest.approx(-2000 / QUESTIONS) and (shift["lower"], shift["higher"]) == (7, 0)
    assert same["to"] == "the same" and same["mean change"] == pytest.approx(300 / QUESTIONS)
    assert any("7 of 7 rows with unchanged settings fall" in sentence for sentence in content.sentences)


def test_a_rerun_of_other_settings_is_no_rerun(tmp_path: Path) -> None:
    runs = [peft_run(LORA, 600), peft_run("a", 500, max_steps=100), peft_run("a", 600, NEW, max_steps=500)]
    content = describe(read(tmp_path, *runs))
    (row,) = content.flat["reruns"]
    assert row["runs"] == 1 and row["left out: other settings"] == "max_steps 100 -> 500"
    assert not content.flat["software"]
    assert any("No row has two runs of the same settings" in sentence for sentence in content.sentences)


def test_fields_that_one_version_lacks_are_no_other_settings(tmp_path: Path) -> None:
    later = peft_run("a", 590, NEW)
    later["run_info"]["peft_config"] |= {
        "new_field": False,
        "peft_version": "0.20",
        "target_modules": ["q_proj", "v_proj"],
    }
    earlier = peft_run("a", 600)
    earlier["run_info"]["peft_config"]["dropped_field"] = 16
    content = describe(read(tmp_path, peft_run(LORA, 600), earlier, later))
    assert [row["runs"] for row in content.flat["reruns"]] == [2]


def test_images_have_no_test(tmp_path: Path) -> None:
    content = describe(read(tmp_path, image_run("lora/flux2-klein-default", 0.6), image_run("b", 0.7)))
    (row,) = [one for one in content.flat["comparisons"] if one["row"] == "b"]
    assert row["difference"] == pytest.approx(0.1) and row["p"] is None
    assert any("no test is possible" in sentence for sentence in content.sentences)


def test_a_score_that_is_no_share_of_the_questions_is_not_tested(tmp_path: Path) -> None:
    other = peft_run("a", 600)
    other["train_info"]["metrics"][-1]["test accuracy"] = 0.5
    (row,) = [o for o in describe(read(tmp_path, peft_run(LORA, 600), other)).flat["comparisons"] if o["row"] == "a"]
    assert row["p"] is None and "no share of 1,319 questions" in row["note"]


def test_everything_that_is_not_read_has_a_line(tmp_path: Path) -> None:
    good = peft_run("a", 400)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "cut.json").write_text(json.dumps(good)[:-40])
    (tmp_path / "config.json").write_text('{"r": 8}')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "nested.json").write_text("[" * 100_000)
    (tmp_path / "folder.json").mkdir()
    wrong = peft_run("b", 400)
    wrong["train_info"]["metrics"][-1]["test accuracy"] = 51.0
    (tmp_path / "percent.json").write_text(json.dumps(wrong))
    (tmp_path / "again.json").write_text(json.dumps(peft_run("a", 401)))
    collected = read(tmp_path, good, good)
    assert len(collected.rows) == 1 and collected.repeats == 1
    assert collected.files == len(collected.rows) + collected.repeats + len(collected.skipped) == 9
    lines = "\n".join(collected.skipped)
    for name in ("deep/cut.json", "config.json", "list.json", "nested.json", "folder.json", "percent.json"):
        assert sum(line.startswith(f"{name}: ") for line in collected.skipped) == 1
    assert "with other scores than in" in lines


def test_a_diverged_score_is_a_failed_row_and_a_diverged_extra_is_left_out(tmp_path: Path) -> None:
    nan = peft_run("a", 400)
    nan["train_info"]["metrics"][-1]["test accuracy"] = float("nan")
    collected = read(tmp_path, nan, image_run("b", 0.7, drift=float("nan")), peft_run("c", None))
    rows = {row.name: row for row, _ in collected.rows}
    assert (rows["a"].status, rows["a"].reason, rows["a"].scores) == ("failed", "test accuracy is nan", {})
    assert (rows["c"].status, rows["c"].reason) == ("failed", "CUDA out of memory")
    assert rows["b"].status == "ok" and "drift" not in rows["b"].scores
    assert [line for line in collected.skipped if "drift" in line]
