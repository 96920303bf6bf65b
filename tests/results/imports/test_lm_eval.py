"""Output folders of lm-eval: what is read, and the paired tests of two models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from results.imports.base import AnsweredRows, Collected, Content
from results.imports.lm_eval import LmEval
from tests.results.imports.files import write_evaluation


def draw(seed: int, n: int = 60) -> list[float]:
    return [float(value > 0.5) for value in np.random.default_rng(seed).random(n)]


def answer(collected: Collected) -> AnsweredRows:
    answers = {row.key: frame for row, frame in collected.rows}
    return AnsweredRows([row for row, _ in collected.rows], lambda row: answers[row.key])


def describe(folder: Path, baseline: str | None = None) -> Content:
    return LmEval().describe(answer(LmEval().read(folder)), baseline)


def compute_mcnemar(first: list[float], second: list[float]) -> float:
    a, b = np.array(first), np.array(second)
    table = [[int(((a == x) & (b == y)).sum()) for y in (1, 0)] for x in (1, 0)]
    return float(mcnemar(table, exact=True).pvalue)


def test_rows_and_answers_are_those_of_the_files(tmp_path: Path) -> None:
    values = draw(0)
    write_evaluation(tmp_path / "m", "org/model", {"law": values}, shots=5)
    ((row, answers),) = LmEval().read(tmp_path).rows
    assert (row.benchmark, row.name, row.headline, row.questions) == ("law", "org/model", "acc", 60)
    assert row.score == pytest.approx(np.mean(values)) and row.settings["num_fewshot"] == 5
    assert row.software == {"transformers": "5.1.0", "lm-eval": "0.4.13"}
    assert answers is not None and answers["score acc"].tolist() == values
    # questions as hashes: the text belongs to the data set
    assert not any("law 0" in str(value) for value in answers.to_numpy().ravel())


def test_two_models_are_paired_on_their_questions(tmp_path: Path) -> None:
    tasks = {"law": (draw(0), draw(1)), "art": (draw(2), draw(3)), "sums": (draw(4), draw(5))}
    for number, model in enumerate(("base", "tuned")):
        write_evaluation(tmp_path / model, model, {task: pair[number] for task, pair in tasks.items()})
    content = describe(tmp_path, "base")
    rows = {row["task"]: row for row in content.flat["comparisons"]}
    expected = {task: compute_mcnemar(pair[1], pair[0]) for task, pair in tasks.items()}
    for task, (base, tuned) in tasks.items():
        assert rows[task]["p"] == pytest.approx(expected[task]) and rows[task]["model"] == "tuned"
        assert rows[task]["points"] == pytest.approx(100 * (np.mean(tuned) - np.mean(base)))
    adjusted = multipletests([expected[task] for task in rows], method="holm")[1]
    assert [row["p_adjusted"] for row in rows.values()] == pytest.approx(adjusted)


def test_a_group_is_pooled_with_its_tasks_as_clusters(tmp_path: Path) -> None:
    tasks = {f"t{i}": (draw(i, 20 + i), draw(50 + i, 20 + i)) for i in range(8)}
    for number, model in enumerate(("base", "tuned")):
        answers = {task: pair[number] for task, pair in tasks.items()}
        write_evaluation(tmp_path / model, model, answers, group=list(tasks))
    comparisons = describe(tmp_path, "base").flat["comparisons"]
    (group,) = [row for row in comparisons if row["task"] == "my_group"]
    gaps = np.concatenate([100 * (np.array(tuned) - np.array(base)) for base, tuned in tasks.values()])
    codes = np.repeat(np.arange(8), [len(base) for base, _ in tasks.values()])
    fit = sm.OLS(gaps, np.ones(len(gaps))).fit(cov_type="cluster", cov_kwds={"groups": codes}, use_t=True)
    assert (group["points"], group["p"]) == (pytest.approx(fit.params[0]), pytest.approx(fit.pvalues[0]))
    assert [group["low"], group["high"]] == pytest.approx(fit.conf_int()[0].tolist())
    # the tasks of a group are a family of their own
    assert group["p_adjusted"] == group["p"] and not group["is_part"]
    parts = [row for row in comparisons if row["is_part"]]
    assert len(parts) == 8
    assert [row["p_adjusted"] for row in parts] == pytest.approx(
        multipletests([row["p"] for row in parts], method="holm")[1]
    )


def test_a_group_whose_score_is_no_mean_over_questions_is_not_tested(tmp_path: Path) -> None:
    for model in ("base", "tuned"):
        path = write_evaluation(tmp_path / model, model, {"a": draw(1, 10), "b": draw(2, 90)}, group=["a", "b"])
        (file,) = path.glob("results_*.json")
        content = json.loads(file.read_text())
        content["results"]["my_group"]["acc,none"] = 0.123
        file.write_text(json.dumps(content))
    (group,) = [row for row in describe(tmp_path).flat["comparisons"] if row["task"] == "my_group"]
    assert "p" not in group and "no mean over its questions" in group["note"]


def test_only_common_questions_count_and_the_others_are_said(tmp_path: Path) -> None:
    first, second = draw(0, 40), draw(1, 30)
    write_evaluation(tmp_path / "a", "base", {"law": first})
    write_evaluation(tmp_path / "b", "tuned", {"law": second}, prompt="other", shots=5)
    (row,) = describe(tmp_path, "base").flat["comparisons"]
    assert row["questions"] == 30 and row["p"] == pytest.approx(compute_mcnemar(second, first[:30]))
    assert "10 questions of one side only" in row["note"]
    assert "num_fewshot 0 -> 5" in row["note"] and "the prompt of 30 questions" in row["note"]


def test_other_questions_are_no_comparison(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", "base", {"law": draw(0)})
    path = write_evaluation(tmp_path / "b", "tuned", {"law": draw(1)})
    (samples,) = path.glob("samples_*")
    lines = [json.loads(line) | {"doc_hash": f"{n}"} for n, line in enumerate(samples.read_text().splitlines())]
    samples.write_text("\n".join(map(json.dumps, lines)))
    (row,) = describe(tmp_path, "base").flat["comparisons"]
    assert "p" not in row and row["note"] == "no test: no question in common"


def test_filters_are_rows_of_their_own(tmp_path: Path) -> None:
    for model in ("base", "tuned"):
        write_evaluation(tmp_path / model, model, {"sums": draw(len(model))}, filters=("strict", "loose"), metric="em")
    content = describe(tmp_path)
    assert [row["task"] for row in content.flat["comparisons"]] == ["sums (strict)", "sums (loose)"]


def test_one_model_twice_has_two_labels(tmp_path: Path) -> None:
    write_evaluation(tmp_path / "a", "base", {"law": draw(0)})
    write_evaluation(tmp_path / "b", "base", {"law": draw(1)}, date="2026-02-01T00-00-00.1")
    (row,) = describe(tmp_path).flat["comparisons"]
    assert row["model"] != row["against"] and row["model"].startswith("base (")


def damage(folder: Path, how: str) -> None:
    (results,), (samples,) = folder.glob("results_*.json"), folder.glob("samples_*.jsonl")
    lines = samples.read_text().splitlines()
    if how == "cut line":
        samples.write_text("\n".join([*lines[:3], lines[3][:20]]))
    elif how == "lost line":
        samples.write_text("\n".join(lines[:-1]))
    elif how == "twice":
        samples.write_text("\n".join([*lines[:-1], lines[0]]))
    elif how == "changed score":
        changed: dict[str, Any] = json.loads(lines[0])
        samples.write_text("\n".join([json.dumps(changed | {"acc": 1 - changed["acc"]}), *lines[1:]]))
    elif how == "no samples":
        samples.unlink()
    else:
        results.unlink()


@pytest.mark.parametrize(
    ("how", "says", "rows"),
    [
        ("cut line", "line 4 is no sample", 1),
        ("lost line", "59 samples for 60 questions", 1),
        ("twice", "a question comes twice", 1),
        ("changed score", "as reported", 1),
        ("no samples", "--log_samples", 1),
        ("no results", "samples without their results file", 0),
    ],
)
def test_damaged_answers_are_left_out_with_a_line(tmp_path: Path, how: str, says: str, rows: int) -> None:
    damage(write_evaluation(tmp_path / "m", "base", {"law": draw(0)}), how)
    collected = LmEval().read(tmp_path)
    assert len(collected.rows) == rows and all(answers is None for _, answers in collected.rows)
    (line,) = collected.skipped
    assert says in line


def test_an_adapter_is_part_of_the_name(tmp_path: Path) -> None:
    arguments = "pretrained=org/base,peft=adapters/x,dtype=bfloat16"
    write_evaluation(tmp_path, "org/base", {"law": draw(0)}, model_args=arguments)
    ((row, _),) = LmEval().read(tmp_path).rows
    assert row.name == "org/base + adapters/x"
