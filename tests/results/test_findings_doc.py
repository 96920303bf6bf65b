"""What docs/findings.md says is what the kept scores give by scipy, and what the kept reports say."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

ROOT = Path(__file__).parents[2]
FINDINGS = " ".join((ROOT / "docs/findings.md").read_text().split())
HALF = "lorasp [lr=0.002]"
LOW = ("lorasp [lr=0.0005]", "lora [lr=0.0005]")


def headlines(run: str) -> pd.DataFrame:
    """Headline by seed; columns (method, task), 'mean' over tasks among them."""
    rows = pd.read_csv(ROOT / f"results/reference/{run}/scores.csv")
    made = rows.groupby(["seed", "method", "task"]).value.mean().unstack("task")
    made["mean"] = made.mean(axis=1)
    return made.unstack("method").swaplevel(axis=1)


@pytest.fixture(scope="module")
def scores() -> pd.DataFrame:
    return headlines("glue-minilm-h100-rates")


@pytest.fixture(scope="module")
def tuned() -> pd.DataFrame:
    return headlines("glue-minilm-h100-tuned")


@pytest.mark.parametrize(
    ("method", "first", "place", "told"),
    [(f"lorasp:select={s}", HALF, "mean", f"{s} {{}}") for s in ("row", "column", "rank", "magnitude", "snip")]
    + [(*LOW, "mrpc", "on mrpc {}"), (*LOW, "rte", "and rte {}"), (*LOW, "mean", "the mean of four tasks {}")],
)
def test_differences(scores: pd.DataFrame, method: str, first: str, place: str, told: str) -> None:
    gaps = scores[method][place] - scores[first][place]
    interval = stats.ttest_1samp(gaps, 0).confidence_interval()
    assert len(gaps) == 10
    assert told.format(f"{gaps.mean():+.1f} ({interval.low:+.1f} to {interval.high:+.1f})") in FINDINGS


SIX = "mean of 6 tasks"
TUNED = [
    ("lorasp", "lora", "qnli", "{d} on qnli ({i})"),
    ("lorasp", "lora", "mrpc", "{d} on mrpc ({i})"),
    ("lorasp", "lora", "sst2", "{d} on sst2 ({i}; non-inferior"),
    ("lorasp", "lora", "rte", "{d} on rte ({i})"),
    ("lorasp", "lora", "cola", "{d} on cola ({i})"),
    ("lorasp", "lora", "stsb", "{d} on stsb ({i}; p = 0.051)"),
    ("lorasp", "lora", SIX, "the mean of six, {d} ({i}; p = 0.052)"),
    ("lorasp", "lora:rank=8", SIX, "as many trainable parameters, {d} ({i}; p = 0.053)"),
    ("lorasp", "full", SIX, "tuned, {d} ({i}; six tasks, p = 0.054)"),
    ("full", "lora", SIX, "full minus lora {d} ({i}, p = 0.010)"),
    ("lora-fa", "lora", SIX, "lora-fa {d} ({i}; p = 0.09)"),
    ("lora:rank=8", "lora", SIX, "rank 8 {d} ({i})"),
    ("bitfit", "lora", SIX, "bitfit {d} ({i})"),
    ("head", "lora", SIX, "head {d} ({i}, p < 0.001)"),
]


@pytest.mark.parametrize(("method", "first", "place", "told"), TUNED)
def test_differences_of_the_tuned_run(tuned: pd.DataFrame, method: str, first: str, place: str, told: str) -> None:
    """The difference from the scores; the interval, for new examples too, from the table of the report."""
    gaps = tuned[method]["mean" if place == SIX else place] - tuned[first]["mean" if place == SIX else place]
    report = (ROOT / "results/reference/glue-minilm-h100-tuned/report/report.md").read_text()
    start = f"| {place} | {method} | {first} |"
    (line,) = [x for x in report.splitlines() if x.startswith(start) and "| seeds and examples |" in x]
    difference, interval = (cell.strip() for cell in line.split("|")[5:7])
    assert difference == f"{gaps.mean():+.1f}" and len(gaps) == 10
    seeds = stats.ttest_1samp(gaps, 0).confidence_interval()
    low, high = (float(x) for x in interval.split(" to "))
    assert low <= seeds.low + 0.05 and high >= seeds.high - 0.05  # new examples make it no narrower
    assert told.format(d=difference, i=interval) in FINDINGS


@pytest.fixture(scope="module")
def costs() -> pd.DataFrame:
    return pd.read_csv(ROOT / "results/profiles-minilm-h100.tsv", sep="\t", index_col="method")


FIVE_TASKS = ["cola", "mrpc", "qnli", "rte", "sst2"]
WITHOUT_STSB = [
    ("lorasp", "lora", "Without stsb {}"),
    ("lorasp", "lora:rank=8", "without stsb {}"),
    ("lora", "full", "without stsb {}"),
    ("rslora", "lorasp", "without stsb {}"),
    ("lorasp:resample=100", "lorasp", "resampled mask (every 100 steps) {}"),
    *[(f"lorasp:select={name}", "lorasp", f"{name} {{}}") for name in ("row", "column", "rank", "magnitude", "snip")],
]


@pytest.mark.parametrize(("method", "first", "told"), WITHOUT_STSB)
def test_differences_without_stsb(tuned: pd.DataFrame, method: str, first: str, told: str) -> None:
    gaps = (tuned[method][FIVE_TASKS] - tuned[first][FIVE_TASKS]).mean(axis=1)
    interval = stats.ttest_1samp(gaps, 0).confidence_interval()
    text = told.format(f"{gaps.mean():+.1f} ({interval.low:+.1f} to {interval.high:+.1f}")
    assert len(gaps) == 10 and text in FINDINGS, text


def test_memory_and_speed_of_the_ways_to_select(costs: pd.DataFrame) -> None:
    own = costs.rename(index=lambda name: name.removeprefix("lorasp:select="))
    told = [f"{own.peak_mib['lorasp']:.1f} against {own.peak_mib['lora']:.1f} MiB"]
    told += [f"{own.step_ms['lorasp']:.2f} against {own.step_ms['lora']:.2f} ms"]
    peaks = [("criticality", " MiB"), ("b-only", ""), ("layer", ""), ("module", ""), ("column", ""), ("a-only", ".")]
    told += [", ".join(f"{name} {own.peak_mib[name]:.1f}{unit}" for name, unit in peaks)]
    times = {name: f"{own.time_of_lora[name]:.2f}" for name in own.index}
    assert times["layer"] == times["module"]
    told += [f"criticality {times['criticality']}, layer and module {times['layer']}, b-only {times['b-only']}, a-only"]
    told += [f"a-only {times['a-only']}; column {times['column']}, all others 0.99 or 1.00"]
    j = {name: f"{own.joules_per_1000[name]:.1f}" for name in own.index}
    told += [f"{j['criticality']} J for 1,000 rows with criticality, {j['layer']} with layer, {j['lorasp']} with the"]
    told += [f"half, {j['lora']} with lora, {j['full']} with full"]
    for text in told:
        assert text in FINDINGS, text
    few = {"criticality", "layer", "module", "b-only", "a-only", "column"}
    selected = {name.removeprefix("lorasp:select=") for name in costs.index if name.startswith("lorasp")}
    assert {times[name] for name in selected - few} <= {"0.99", "1.00"} and len(selected) == 15
    assert all(own.peak_mib[name] <= own.peak_mib["lora"] for name in selected)  # no way takes more


def test_scores_where_seeds_collapse(tuned: pd.DataFrame) -> None:
    said = []
    for method in ("lora", "lorasp"):
        own = tuned[method]["stsb"]
        half = stats.t.ppf(0.975, len(own) - 1) * own.sem()
        said.append(f"{own.mean():.1f} ± {half:.1f}")
    assert " and ".join(said) in FINDINGS
