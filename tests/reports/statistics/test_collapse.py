"""Which runs count as collapsed, and that no place of a report claims equivalence where runs did."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from harness.core.record import Record
from harness.core.seeds import equal
from reports.findings import build_findings
from reports.frames import build_grids
from reports.render import write_report
from reports.statistics.analysis import Analysis, analyse
from reports.statistics.collapse import CollapseCount, TaskCollapses, compute_upper_rate, find_collapses, join_refusals
from reports.statistics.families import Question
from studies.answer import StudyRuns
from studies.rules import compared, contrast, streams
from studies.study import load_study
from tests.reports.predicted import guesses, kept
from tests.reports.records import cell, grid_of, record

Scores = Sequence[float | None]


def collapses(scores: dict[str, Scores], majority: float | None = 50.0, task: str = "rte") -> TaskCollapses:
    records = [
        record(value, cell(task, method, seed), [task], majority=majority)
        for method, values in scores.items()
        for seed, value in enumerate(values)
    ]
    (grid,) = build_grids(records)
    return find_collapses(grid, grid.averages[0])[task]


def counts(found: TaskCollapses) -> dict[str, int]:
    return {method: share.collapsed for method, share in found.shares.items()}


GOOD = [84.0, 83.1, 84.6, 83.8, 84.2]


@pytest.mark.parametrize("runs", [1, 3, 5, 10, 30])
@pytest.mark.parametrize("collapsed", [0, 1])
def test_the_bound_is_clopper_and_pearsons(collapsed: int, runs: int) -> None:
    expected = stats.binomtest(collapsed, runs, alternative="less").proportion_ci(0.95, "exact").high
    assert compute_upper_rate(collapsed, runs) == pytest.approx(expected)
    assert compute_upper_rate(collapsed, runs) == pytest.approx(proportion_confint(collapsed, runs, 0.1, "beta")[1])


def test_none_of_ten_still_allows_26_percent() -> None:
    assert f"{100 * compute_upper_rate(0, 10):.0f}" == "26" and compute_upper_rate(10, 10) == 1.0


@pytest.mark.parametrize(
    ("bad", "majority", "collapsed"),
    [
        ([50.0], 50.0, 1),  # the majority baseline
        ([52.0, 49.0], 50.0, 2),  # about it
        ([80.5], 50.0, 0),  # an ordinary bad seed
        ([15.5, 19.3, 43.7], 0.0, 3),  # STS-B: correlations far below the other seeds, not at 0
        ([0.0, -2.9], 0.0, 2),  # CoLA: Matthews 0 and below
        ([25.4], None, 1),  # no recorded baseline counts as 0
        ([float("nan")], 50.0, 1),
    ],
)
def test_runs_of_one_method(bad: list[float], majority: float | None, collapsed: int) -> None:
    found = collapses({"lora": GOOD, "lorasp": [*GOOD, *bad]}, majority)
    assert found.is_learned and counts(found) == {"lora": 0, "lorasp": collapsed}


@pytest.mark.parametrize(("margin", "collapsed"), [(0.0, 1), (2.0, 2), (6.0, 3)])
def test_the_declared_margin_decides(margin: float, collapsed: int) -> None:
    """A weak method, all of whose runs are near the baseline of a task that others learned."""
    records = [
        record(value, cell("rte", method, seed), ["rte"])
        for method, values in (("lora", GOOD), ("head", [49.0, 51.5, 55.0]))
        for seed, value in enumerate(values)
    ]
    found = analyse(records, [], question=Question(collapse_margin=margin)).collapses["glue"]["rte"]
    assert counts(found) == {"lora": 0, "head": collapsed}


@pytest.mark.parametrize(("collapsed", "runs"), [(0, 5), (1, 10), (3, 10), (10, 10)])
def test_the_interval_of_the_rate_is_wilsons(collapsed: int, runs: int) -> None:
    expected = proportion_confint(collapsed, runs, method="wilson")
    assert CollapseCount(collapsed, runs).interval == pytest.approx(expected)


def test_most_seeds_of_the_only_method() -> None:
    """The median has collapsed as well; one run shows what can be learned."""
    found = collapses({"rslora": [7.6, 0.1, 11.4, 7.4, 76.1]}, 0.0)
    assert found.is_learned and counts(found) == {"rslora": 4}


def test_a_task_that_nobody_learned_has_no_collapsed_runs() -> None:
    found = collapses({"lora": [50.0, 50.4, 51.0], "lorasp": [50.0, 50.0, 49.0]})
    assert not found.is_learned and counts(found) == {"lora": 0, "lorasp": 0}
    assert found.describe_refusal("lora", "lorasp")


def test_a_method_that_never_learns_says_nothing_of_others() -> None:
    found = collapses({"lora": GOOD, "lorasp": GOOD, "head": [51.0, 50.8, 51.2]})
    assert found.shares["head"].is_never_learned
    assert not found.describe_refusal("lora", "lorasp") and found.describe_refusal("lora", "head")


def test_a_collapse_on_another_backbone_says_nothing_of_others() -> None:
    """Runs on a backbone of 2 bits collapse; that refuses comparisons with them, and no others."""
    scores = {"none": GOOD, "int8": GOOD, "sim2": [*GOOD[:3], 50.0, 50.0]}
    records = [
        record(value, cell("rte", "lorasp", seed).model_copy(update={"quantize": quantize}), ["rte"], majority=50.0)
        for quantize, values in scores.items()
        for seed, value in enumerate(values)
    ]
    (grid,) = build_grids(records)
    found = find_collapses(grid, grid.averages[0])["rte"]
    none, int8, two_bits = sorted(found.shares, key=lambda name: list(scores).index(found.backbones[name]))
    assert counts(found) == {none: 0, int8: 0, two_bits: 2}
    assert found.describe_refusal(none, int8) == ""
    assert "2 of 5" in found.describe_refusal(none, two_bits) and "2 of 5" in found.describe_refusal(two_bits)


@pytest.mark.parametrize("sd", [1.0, 3.0, 5.0])
def test_ordinary_spread_is_no_collapse(sd: float) -> None:
    """At most 1 run in 200 of normal scores 30 points above the baseline."""
    rng = np.random.default_rng(0)
    shares = [collapses({"lora": rng.normal(80, sd, 10).tolist()}).shares["lora"] for _ in range(60)]
    assert sum(s.collapsed for s in shares) <= 3


def test_collapses_of_translations_go_by_the_other_seeds() -> None:
    assert counts(collapses({"lora": [27.1, 26.8, 27.4, 3.0]}, None, "en-ro")) == {"lora": 1}
    assert counts(collapses({"lora": [27.1, 26.8, 27.4, 25.0]}, None, "en-ro")) == {"lora": 0}


def test_a_diverged_run_is_a_collapse_and_one_without_memory_is_not() -> None:
    made = [record(value, cell("rte", "lora", s), ["rte"]) for s, value in enumerate(GOOD)]
    made.append(record(None, cell("rte", "lora", 8), ["rte"], reason="the loss is not finite (seen at step 3)"))
    made.append(record(None, cell("rte", "lora", 9), ["rte"], reason="out of memory"))
    (grid,) = build_grids(made)
    share = find_collapses(grid, "glue")["rte"].shares["lora"]
    assert (share.collapsed, share.runs) == (1, 6)


@pytest.mark.parametrize("broken", [False, True])
def test_one_class_for_every_example_is_a_collapse(tmp_path: Path, broken: bool) -> None:
    """A class whose share is far above the recorded baseline; also where the predictions are no evidence."""
    rng = np.random.default_rng(0)
    targets = (rng.random(200) < 0.75).astype(int)
    made = []
    for seed in range(4):
        said = np.ones(200, dtype=int) if seed == 2 else guesses(rng, targets, 0.85)
        made.append(kept(tmp_path, said, targets, seed=seed))
    made.append(kept(tmp_path, guesses(rng, targets, 0.85), targets, seed=9))
    if broken:
        (tmp_path / f"{made[-1].key}.parquet").unlink()
    (found,) = analyse(made, [], cells=tmp_path).collapses.values()
    assert [key == made[2].key for key in found["rte"].reasons] == [True]


# ---------------------------------------------------------------- verdicts


def close(bad: dict[tuple[str, int], float] | None = None, others: dict[str, Scores] | None = None) -> list[Record]:
    """lora, lorasp and full on rte and sst2, equal but for a little noise and the collapsed `bad` (on rte)."""
    rng = np.random.default_rng(3)
    base = rng.normal(85, 1, 10)
    made: dict[tuple[str, str], list[float | None]] = {}
    for task, method in itertools.product(("rte", "sst2"), ("lora", "lorasp", "full")):
        made[task, method] = (base + rng.normal(0, 0.1, 10)).tolist()
    for (method, seed), value in (bad or {}).items():
        made["rte", method][seed] = value
    return grid_of(made, ("rte", "sst2"))


def kinds(analysis: Analysis) -> dict[tuple[str, str, str], str]:
    return {(j.comparison.place, j.comparison.method, j.comparison.first): j.verdict.kind for j in analysis.judged}


def test_without_collapses_all_are_equivalent_and_the_rate_left_open_is_named() -> None:
    analysis = analyse(close(), [], margin=1.0)
    assert set(kinds(analysis).values()) == {"equivalent without collapses"}
    for judged in analysis.judged:
        notes = " ".join(judged.verdict.notes)
        assert judged.comparison.place == "average of 2 tasks" or "0 of 10 (at most 26 %)" in notes


@pytest.mark.parametrize(("seeds", "kind"), [(58, "equivalent without collapses"), (59, "equivalent")])
def test_equivalence_holds_for_all_runs_once_collapses_of_five_percent_are_ruled_out(seeds: int, kind: str) -> None:
    # the exact binomial test of scipy: 59 runs without a collapse are the fewest that exclude a rate of 5 % at 5 %
    assert (stats.binomtest(0, seeds, 0.05, alternative="less").pvalue < 0.05) == (kind == "equivalent")
    noise = np.random.default_rng(0).normal(0, 0.1, (2, seeds))
    scores = {("rte", name): (80 + row).tolist() for name, row in zip(("lora", "lorasp"), noise, strict=True)}
    assert set(kinds(analyse(grid_of(scores, ["rte"]), [], margin=1.0)).values()) == {kind}


@pytest.mark.parametrize("method", ["lora", "lorasp", "full"])
def test_a_collapsed_run_of_any_method_refuses_equivalence_on_its_task(method: str, tmp_path: Path) -> None:
    """In verdicts, tests, the table, the CSV file and every format; the other task keeps its verdicts."""
    records = close({(method, 0): 50.5})
    # What the others differ by stays within the margin, so without the rule most would be equivalent.
    analysis = analyse(records, [], margin=1.0)
    for (place, *_), kind in kinds(analysis).items():
        assert kind.startswith("equivalent") == (place == "sst2")
    assert all(j.tests.equivalence_p is None for j in analysis.judged if j.comparison.place != "sst2")
    found = build_findings(analysis)
    comparisons = next(rows for title, rows, *_ in found.tables if title.startswith("Comparisons"))
    assert {row["verdict"] for row in comparisons if row["on"] == "rte"} <= {"no significant difference", "better"}
    stability = next(rows for title, rows, *_ in found.tables if title == "Stability")
    collapsed = {(row["task"], row["method"]): row["collapsed"] for row in stability}
    assert collapsed.pop(("rte", method)) == "1 of 10" and set(collapsed.values()) == {"0 of 10"}
    for row in found.flat["comparisons"]:
        assert row["verdict"].startswith("equivalent") == (row["on"] == "sst2")
        assert (row["p_equivalence_adjusted"] is None) == (row["on"] != "sst2")
    write_report(records, [], tmp_path, "t", "c", findings=found, formats=("md", "html", "latex", "csv"), images=())
    texts = [(tmp_path / f"report.{kind}").read_text() for kind in ("md", "html")]
    # report.tex reads its tables from files of their own
    texts.append("\n".join(path.read_text() for path in sorted(tmp_path.rglob("*.tex"))))
    assert all("within 1 points on rte" not in text and "1 of 10" in text for text in texts)


def test_a_small_difference_is_not_called_smaller_than_the_margin_either() -> None:
    noise = np.array([0.1, -0.2, 0.0, 0.2, -0.1])
    made = {("rte", "lora"): GOOD, ("rte", "lorasp"): (np.array(GOOD) + 0.3 + noise).tolist()}
    clean = analyse(grid_of(made, ["rte"]), [], margin=1.0).judged[0].verdict
    made["rte", "full"] = [*GOOD[:4], 50.0]
    collapsed = analyse(grid_of(made, ["rte"]), [], margin=1.0).judged[0].verdict
    assert (clean.kind, collapsed.kind) == ("better", "better")
    note = "The difference is smaller than the margin of 1 points."
    assert note in clean.notes and note not in collapsed.notes


def test_studies_confirm_nothing_where_runs_collapsed() -> None:
    for bad, kind in ({}, "confirmed"), ({("lora", 0): 50.5}, "undecided"):
        records = [r for r in close(bad) if r.cell.task == "rte"]
        seen = StudyRuns(records, (), analyse(records, [], margin=1.0), 1.0)
        found = compared.judge(load_study("parity"), seen)
        assert found.parts["lorasp against full"].kind == kind


def test_a_part_of_a_run_is_judged_by_the_collapses_of_the_whole() -> None:
    whole = [r for r in close({("lora", 0): 50.5}) if r.cell.task == "rte"]
    part = sorted((r for r in whole if r.cell.method != "lora"), key=lambda r: r.cell.method)
    seen = StudyRuns(part, (), analyse(part, [], margin=1.0), 1.0)
    study = load_study("parity")
    alone = {p.kind for p in compared.judge(study, seen).parts.values()}
    both = {p.kind for p in compared.judge(study, dataclasses.replace(seen, run=analyse(whole, []))).parts.values()}
    assert alone == {"confirmed"} and both == {"undecided"}


def test_contrasts_and_spreads_over_masks_confirm_nothing_either() -> None:
    rng = np.random.default_rng(0)
    for bad, kind in (None, "confirmed"), (51.0, "undecided"):
        made: dict[tuple[str, str], list[float | None]] = {
            (task, method): rng.normal(85, 0.2, 6).tolist()
            for task in ("d000", "d050", "d100")
            for method in ("lora", "lorasp")
        }
        if bad:
            for method in ("lora", "lorasp"):  # both collapse on one seed, so their difference has no large spread
                made["d100", method][0] = bad
        seen = StudyRuns(grid_of(made, ("d000", "d050", "d100")), margin=2.0)
        assert contrast.judge(load_study("domain"), seen).kind == kind
    masks = [
        record(85 + rng.normal(0, 0.1), cell("rte", "lorasp", seeds=equal(0) | {"init": i, "mask": m}), ["rte"])
        for i, m in itertools.product(range(5), range(5))
    ]
    assert streams.judge(load_study("seed-sensitivity"), StudyRuns(masks, margin=2.0)).kind == "confirmed"
    other = record(50.5, cell("rte", "lorasp", 7), ["rte"])
    assert streams.judge(load_study("seed-sensitivity"), StudyRuns([*masks, other], margin=2.0)).kind == "undecided"


def test_records_of_earlier_versions_are_enough() -> None:
    """No predictions, no loss curve, no baseline."""
    old = [r.model_copy(update={"majority": None, "loss_curve": []}) for r in close({("lora", 0): 20.0})]
    assert analyse(old, [], margin=1.0).collapses["glue"]["rte"].shares["lora"].collapsed == 1


def test_no_reason_without_collapses() -> None:
    assert join_refusals([collapses({"lora": GOOD, "lorasp": GOOD})], "lora", "lorasp") == ""


def test_a_weak_method_on_both_sides_of_the_line_has_not_collapsed() -> None:
    """A third of 15 points gained is 55; runs at 54.6 and 55.5 are a weak method, not collapsed seeds."""
    found = collapses({"full": [65.0, 65.2, 64.9], "bitfit": [54.6, 55.5, 54.8, 55.2]})
    assert counts(found) == {"full": 0, "bitfit": 0}
