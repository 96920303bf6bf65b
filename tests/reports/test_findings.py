"""Verdicts and checks, as they stand at the top of a report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.api import OLS
from statsmodels.stats.contingency_tables import mcnemar

from reports.detail import MAX_ROWS as MOST_ROWS
from reports.findings import build_findings
from reports.render import write_report
from reports.statistics.analysis import analyse
from tests.reports.predicted import guesses, kept
from tests.reports.records import cell, record

TASKS = ("cola", "rte")
RUNS = [
    record(score + seed / 10 + gap * (1 + seed / 100), cell(task=task, method=method, seed=seed))
    for task, score in zip(TASKS, (60.0, 80.0), strict=True)
    for method, gap in (("lora", 0.0), ("lorasp", -5.0), ("head", -9.0))
    for seed in range(4)
    if not (method == "head" and seed == 3)
]


def test_the_answer_comes_first_and_every_comparison_is_in_the_table() -> None:
    found = build_findings(analyse(RUNS, [], margin=1.0))
    assert found.sentences[0].startswith("lorasp is worse than lora on the average of 2 tasks: -5.1 points")
    title, rows, notes, _ = found.tables[0]
    frame = pd.DataFrame(rows)
    assert title.startswith("Comparisons") and set(frame["on"]) == {*TASKS, "average of 2 tasks"}
    assert any("margin is 1 points" in n for n in notes)
    lorasp = frame[(frame["method"] == "lorasp") & (frame["on"] == "rte")].iloc[0]
    assert (lorasp["difference"], lorasp["role"]) == ("-5.1", "secondary")
    assert list(frame["role"]) == sorted(frame["role"], key=("primary", "secondary", "exploratory").index)


def test_two_suites_are_told_apart() -> None:
    other = [r.model_copy(update={"cell": r.cell.model_copy(update={"suite": "other"})}) for r in RUNS]
    other = [r.model_copy(update={"key": r.cell.key}) for r in other]
    sentences = build_findings(analyse([*RUNS, *other], [])).sentences
    assert {s.partition(":")[0] for s in sentences} == {"glue", "other"}


def test_they_stand_in_the_report(tmp_path: Path) -> None:
    analysis = analyse(RUNS, [])
    write_report(RUNS, [], tmp_path, "t", "c", findings=build_findings(analysis), formats=("md", "html"))
    text = (tmp_path / "report.md").read_text()
    assert "Signs of failure" in text and "no margin was named" in text
    assert text.index("Comparisons, paired by seed") < text.index("Signs of failure")


def test_what_is_undecided_says_what_would_be_found_and_how_many_seeds_it_takes() -> None:
    rng = np.random.default_rng(0)
    runs = [
        record(float(60 + rng.normal()), cell(task=task, method=method, seed=seed))
        for task in TASKS
        for method in ("lora", "lorasp", "head")
        for seed in range(4)
    ]
    analysis = analyse(runs, [])
    rows = [row for row in build_findings(analysis).tables[0][1] if row["verdict"] == "no significant difference"]
    power = ("minimum detectable difference (80 % power)", "seeds needed")
    assert len(rows) >= 5 and all(row[name] for row in rows for name in power)


def test_means_over_all_tasks_are_scipys() -> None:
    (rows,) = [rows for title, rows, *_ in build_findings(analyse(RUNS, [])).tables if title == "Over all tasks"]
    for row in rows:
        scores = [
            [r.scores["accuracy"] for r in RUNS if (r.cell.method, r.cell.task) == (row["method"], t)] for t in TASKS
        ]
        trimmed = np.mean([stats.trim_mean(own, 0.25) for own in scores])
        assert row["interquartile mean"].split(" ")[0] == f"{trimmed:.1f}"
        assert row["runs"] == sum(map(len, scores))
    lora, lorasp = ([r.scores["accuracy"] for r in RUNS if r.cell.method == m] for m in ("lora", "lorasp"))
    u = [stats.mannwhitneyu(lorasp[i : i + 4], lora[i : i + 4]).statistic / 16 for i in (0, 4)]
    assert rows[1]["probability of improvement over the baseline"].split(" ")[0] == f"{np.mean(u):.2f}"


def test_seed_pairs_are_detail_one_row_each_and_in_a_file(tmp_path: Path) -> None:
    """McNemar by statsmodels; more rows than fit are counted."""
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 80)
    said = {(m, s): guesses(rng, targets, 0.7) for m in ("lora", "lorasp") for s in range(MOST_ROWS + 3)}
    runs = [kept(tmp_path, p, targets, method=m, seed=s) for (m, s), p in said.items()]
    found = build_findings(analyse(runs, [], cells=tmp_path))
    ((title, rows, notes, _),) = found.detail
    assert title == "Seed pairs" and len(rows) == MOST_ROWS and any("3 more rows are in pairs.csv" in n for n in notes)
    assert any("not to be pooled" in n for n in notes) and len(found.flat["pairs"]) == MOST_ROWS + 3
    for row in rows[:20]:
        a, b = (said[m, int(row["seeds"])] == targets for m in ("lorasp", "lora"))
        table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(b & ~a), np.sum(~a & ~b)]]
        p = mcnemar(table, exact=True).pvalue
        assert row["McNemar p"] == ("< 0.001" if p < 0.001 else f"{p:.3f}")
    write_report(runs, [], tmp_path / "r", "t", "c", findings=found, formats=("md", "html", "csv"), images=())
    text = (tmp_path / "r" / "report.md").read_text()
    assert text.index("## glue") < text.index("## Detail") < text.index("### Seed pairs")
    html = (tmp_path / "r" / "report.html").read_text()
    assert html.index('id="section-scores"') < html.index('id="section-examples"') < html.index('id="section-runs"')
    assert html.index('id="section-examples"') < html.index("<caption>Seed pairs</caption>")
    assert len(pd.read_csv(tmp_path / "r" / "pairs.csv")) == MOST_ROWS + 3


def test_errors_of_questions_are_clustered_by_subject(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    ids = [f"{subject}/{i}" for subject in ("law", "art", "physics", "logic") for i in range(40)]
    hard = np.repeat([0.3, 0.5, 0.7, 0.9], 40)
    targets = rng.integers(0, 2, 160)
    said = [guesses(rng, targets, hard) for _ in range(3)]
    runs = [kept(tmp_path, p, targets, seed=s, ids=ids) for s, p in enumerate(said)]
    (rows,) = [
        rows
        for title, rows, *_ in build_findings(analyse(runs, [], cells=tmp_path)).tables
        if title.startswith("Standard")
    ]
    right = np.mean([100.0 * (p == targets) for p in said], axis=0)
    fit = OLS(right, np.ones(160)).fit(cov_type="cluster", cov_kwds={"groups": np.repeat(range(4), 40)}, use_t=True)
    assert [(r["standard error"], r["questions"], r["subjects"]) for r in rows] == [(f"{fit.bse[0]:.2f}", 160, 4)]
    plain = [kept(tmp_path, p, targets, seed=s) for s, p in enumerate(said)]
    titles = [title for title, *_ in build_findings(analyse(plain, [], cells=tmp_path)).tables]
    assert not any(title.startswith("Standard") for title in titles)
