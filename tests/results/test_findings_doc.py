"""What docs/findings.md says is what the kept scores give by scipy, and what the kept reports say."""

from __future__ import annotations

import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy import stats

from harness.cli.main import main
from scripts.pack_reference import unpack

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "results/reference"
FINDINGS = " ".join((ROOT / "docs/findings.md").read_text().split())


def headlines(run: str) -> pd.DataFrame:
    """Headline by seed; columns (method, task), 'mean' over tasks among them."""
    rows = pd.read_csv(ROOT / f"results/reference/{run}/scores.csv")
    made = rows.groupby(["seed", "method", "task"]).value.mean().unstack("task")
    made["mean"] = made.mean(axis=1)
    return made.unstack("method").swaplevel(axis=1)


@pytest.fixture(scope="module")
def tuned() -> pd.DataFrame:
    return headlines("glue-minilm-h100-tuned")


SURFACE, BATCHES = (ROOT / f"results/reference/surface{name}-minilm-h100/surface.parquet" for name in ("", "-batches"))
TASKS = ["cola", "mrpc", "qnli", "rte", "sst2", "stsb"]


@pytest.fixture(scope="module")
def fresh() -> pd.DataFrame:
    """Scores of the fresh seeds: rows (task, seed), columns methods."""
    runs = pd.read_parquet(SURFACE)
    return runs[runs["stage"] == "confirm"].pivot(index=["task", "seed"], columns="method", values="score")


def estimate(gaps: pd.Series, digits: int = 2) -> str:
    """Mean over tasks of the mean over seeds, with its interval by Welch's and Satterthwaite's degrees of freedom."""
    by_task = gaps.dropna().groupby("task")
    variances = by_task.var() / by_task.size()
    df = variances.sum() ** 2 / (variances**2 / (by_task.size() - 1)).sum()
    mean, half = by_task.mean().mean(), stats.t.ppf(0.975, df) * variances.sum() ** 0.5 / len(variances)
    return f"{mean:+.{digits}f} ({mean - half:+.{digits}f} to {mean + half:+.{digits}f})"


@pytest.mark.parametrize("task", TASKS)
def test_the_table_of_tasks(fresh: pd.DataFrame, task: str) -> None:
    own = fresh.loc[task]
    assert len(own) == 100
    row = f"| {task} | {own['lora'].mean():.1f} | {own['lorasp'].mean():.1f} |"
    assert f"{row} {estimate((fresh['lorasp'] - fresh['lora']).loc[[task]], 1)} |" in FINDINGS


@pytest.mark.parametrize(
    ("method", "other", "tasks", "told"),
    [
        ("lorasp", "lora", TASKS, "| mean | | | {} |"),
        ("lorasp", "lora", ["mrpc", "qnli", "rte", "sst2"], "the mean difference is {}: equivalent"),
        ("lorasp", "lora:rank=8", TASKS, "as many trainable parameters: {}"),
        ("lorasp:select=column", "lorasp", TASKS, "the column half is {} against"),
        ("lorasp:select=magnitude", "lorasp", TASKS, "the half of the largest entries {}."),
        ("lorasp:resample=100", "lorasp", TASKS, "every 100 steps is {}, undecided"),
    ],
)
def test_means_at_the_best_rates(fresh: pd.DataFrame, method: str, other: str, tasks: list[str], told: str) -> None:
    text = told.format(estimate((fresh[method] - fresh[other]).loc[tasks]))
    assert text in FINDINGS, text


def test_the_four_tasks_are_equivalent(fresh: pd.DataFrame) -> None:
    by_task = (fresh["lorasp"] - fresh["lora"]).loc[["mrpc", "qnli", "rte", "sst2"]].groupby("task")
    se = (by_task.var() / by_task.size()).sum() ** 0.5 / 4
    assert stats.norm.sf((1 - abs(by_task.mean().mean())) / se) < 1e-6


def test_collapses_and_what_is_left_without_them() -> None:
    """From the report of the study, whose rules of collapse have tests of their own."""
    report = (SURFACE.parent / "report/report.md").read_text()
    for other, told in (("lora", "Without collapsed runs {}."), ("lora:rank=8", "without collapsed runs {}.")):
        (line,) = [x for x in report.splitlines() if x.startswith(f"| lorasp | {other} |")]
        assert told.format(line.split("|")[6].strip()) in FINDINGS
    for task, told in (("cola", "29 and 4 of 100"), ("stsb", "24 and 10 of 100"), ("qnli", "1 and 0")):
        counts = [
            next(x for x in report.splitlines() if x.startswith(f"| {task} | {method} |") and "of 100" in x)
            for method in ("lora", "lorasp")
        ]
        first, second = (re.search(r"(\d+) of 100", count)[1] for count in counts)  # type: ignore[index]
        assert told.startswith(f"{first} and {second}") and f"| {told} |" in FINDINGS
    assert "54 and 14 of 600" in FINDINGS and "14 of lorasp and 54 of lora)" in report


def choose_rates(runs: pd.DataFrame) -> pd.Series:
    """(task, method) -> the rate with the best mean validation score, the higher one of equal ones."""
    means = runs.groupby(["task", "method", "lr"])["validation"].mean().round(6).reset_index()
    return means.sort_values(["validation", "lr"]).groupby(["task", "method"]).last()["lr"]


def test_ratios_of_best_rates_and_common_rates() -> None:
    runs = pd.read_parquet(SURFACE)
    search = runs[runs["stage"] == "search"]
    rates = runs[runs["stage"] == "confirm"].groupby(["task", "method"])["lr"].first().unstack()
    ratios = {task: f"{ratio:.1f}" for task, ratio in (rates["lorasp"] / rates["lora"]).drop("rte").items()}
    assert ratios == {"cola": "2.9", "mrpc": "2.9", "qnli": "1.4", "sst2": "1.4", "stsb": "1.0"}
    assert "2.9 times LoRA's on cola and mrpc, 1.4 times on qnli and sst2, and the same on stsb" in FINDINGS
    means = (
        search.groupby(["lr", "method", "task"])["score"].mean().unstack("task")[TASKS].dropna().mean(axis=1).unstack()
    )
    gaps = (means["lorasp"] - means["lora"]).dropna()
    assert (gaps.idxmin(), gaps.idxmax()) == (1.4e-3, 2.8e-3)
    assert f"goes from {gaps.min():+.1f} (at 1.4e-3) to {gaps.max():+.1f} (at 2.8e-3)" in FINDINGS
    lucky = search[(search["task"] == "stsb") & (search["method"] == "lora") & (search["lr"] == 1.4e-3)]["score"].mean()
    assert f"({lucky:.1f} in the search, 59.0 on fresh seeds)" in FINDINGS


def test_the_search_over_batch_sizes() -> None:
    runs = pd.read_parquet(BATCHES)
    paper, runs = runs[runs["budget"] == "3 epochs"], runs[runs["budget"] != "3 epochs"]
    packed = runs[~runs["method"].isin(["full", "dora"])]
    assert (len(packed), packed["method"].nunique(), packed["seed"].nunique()) == (10_560, 11, 10)
    scores = {}
    for batch, group in runs.groupby("batch_size"):
        rates = choose_rates(group)
        own = group.set_index(["task", "method"]).join(rates.rename("best"))
        scores[batch] = (
            own[own["lr"] == own["best"]].groupby(["task", "method"])["score"].mean().unstack("task").mean(axis=1)
        )
        if batch == 32:
            assert all(rates[task, "lora"] == rates[task, "lora:rank=8"] for task in ("cola", "mrpc", "rte", "stsb"))
            told = {task: (rates[task, "full"], rates[task, "lora"]) for task in ("cola", "stsb")}
            assert told == {"cola": (2e-4, 2e-3), "stsb": (1e-4, 1e-3)}
    three = [[f"{scores[b][m]:.1f}" for b in (16, 32, 64)] for m in ("lora", "lorasp")]
    texts = ["{}, {} and {} for lora".format(*three[0]), "and {}, {} and {} for lorasp".format(*three[1])]
    texts.append("full fine-tuning ({:.1f} with 32 rows".format(scores[32]["full"]))
    texts.append("lora-fa ({:.1f}) and pissa ({:.1f})".format(scores[32]["lora-fa"], scores[32]["pissa"]))
    for text in texts:
        assert text in FINDINGS, text
    others = scores[32].drop(["full", "lora-fa", "pissa"])
    assert others.max() < scores[32]["pissa"] < scores[32]["lora-fa"] < scores[32]["full"]
    assert set(paper["lr"]) == {2e-5} and (paper[paper["task"] == "cola"]["score"] == 0).all()
    means = paper.groupby(["task", "method"])[["score", "majority"]].mean()
    assert (means["score"] <= means["majority"]).all()


def test_the_second_encoder() -> None:
    runs = pd.read_parquet(REFERENCE / "surface-e5-h100/surface.parquet")
    own = runs[runs["stage"] == "confirm"].pivot(index=["task", "seed"], columns="method", values="score")
    assert own.groupby("task").size().eq(30).all() and set(own.index.levels[0]) == set(TASKS)
    assert f"`surface-e5-h100`): {estimate(own['lorasp'] - own['lora'])}, undecided" in FINDINGS
    rte = own.loc["rte"].mean()
    assert f"{rte['lora']:.1f}" == f"{rte['lorasp']:.1f}" == "63.9" and "63.9 with both methods" in FINDINGS
    (row,) = [r for r in read_study("surface-e5-h100")["evidence"] if (r["method"], r["against"]) == ("lorasp", "lora")]
    assert row["decided without"] == "equivalent" and f"runs {row['without collapsed runs']}, equivalent" in FINDINGS


@pytest.mark.parametrize(
    ("method", "other", "told"),
    [
        ("lorasp", "lora", "tasks is {} with lorasp, where 15 of 200 runs collapse and 57 of lora's"),
        ("lora:rank=8", "lora", "fewer parameters (rank 8): {},"),
        ("lora:alpha=11.314", "lora", "square root of a half): {},"),
        ("lora:match=lorasp", "lora", "both together: {}."),
        ("lorasp:ratio=0.25", "lora", "a quarter of the entries gives {}, three"),
        ("lorasp:ratio=0.75", "lora", "three quarters {}."),
        ("lorasp:select=row", "lorasp", "rows are {} against it"),
        ("lorasp:held=zero", "lorasp", "at zero are {}, undecided"),
        ("lorasp:alpha=22.627,held=zero", "lorasp", "and {} at the same update norm"),
    ],
)
def test_variants_of_the_half(method: str, other: str, told: str) -> None:
    runs = pd.read_parquet(REFERENCE / "halves-minilm-h100/surface.parquet")
    own = runs[runs["stage"] == "confirm"].pivot(index=["task", "seed"], columns="method", values="score")
    assert own.groupby("task").size().tolist() == [100, 100] and len(runs) == 3790
    text = told.format(estimate(own[method] - own[other]))
    assert text in FINDINGS, text


def test_collapses_of_the_halves() -> None:
    rows = {(r["method"], r["against"]): r for r in read_study("halves-minilm-h100")["evidence"]}
    assert rows["lorasp", "lora"]["collapsed"] == "15 of 200"
    # how many of lora's is in the sentence of the verdict: 21 points of 200 runs more
    assert "-21.00 (-27.93 to -14.07) percentage points" in read_study("halves-minilm-h100")["sentence"]
    assert 57 - 15 == 0.21 * 200 and "57 of lora's" in FINDINGS


def read_records(run: str) -> list[dict[str, Any]]:
    """The records of a packed run."""
    with tarfile.open(REFERENCE / run / "cells.tar.xz") as archive:
        members = [m for m in archive if m.name.startswith("cells/") and m.name.endswith(".json")]
        return [json.load(archive.extractfile(m)) for m in members]  # type: ignore[arg-type]


def read_study(run: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((REFERENCE / run / "study.json").read_text())
    return content


def tabulate(run: str, name: str = "method") -> pd.DataFrame:
    """Headline by seed, the mean over tasks; one column for each method (with its options) or quantization type."""
    rows = []
    for record in read_records(run):
        cell = record["cell"]
        options = ",".join(f"{k}={v}" for k, v in cell["options"].items())
        label = cell["method"] + (f":{options}" if options else "")
        label = cell["quantize"] if name == "quantize" and not options else label
        average = next(iter(record["averages"].values()))
        rows.append((label, cell["task"], cell["seeds"]["init"], average["score"]))
    table = pd.DataFrame(rows, columns=["method", "task", "seed", "score"])
    return table.groupby(["method", "seed"])["score"].mean().unstack("method")


def test_fifteen_languages() -> None:
    table = tabulate("xnli-e5-h100")
    assert len(table) == 20 and len(table.dropna()) == 20
    means = {name: f"{table[name].mean():.1f}" for name in ("lorasp", "lora", "full", "head")}
    assert ", ".join(f"{name} {mean}" for name, mean in means.items()) + " on the mean" in FINDINGS
    gaps = table["lorasp"] - table["lora"]
    seeds = stats.ttest_1samp(gaps, 0).confidence_interval()
    assert f"{gaps.mean():+.1f}" == "+0.4" and seeds.low + 0.05 > 0.2 and seeds.high - 0.05 < 0.6
    assert "is +0.4 (+0.2 to +0.6, new examples too)" in FINDINGS
    kinds = [p["kind"] for name, p in read_study("xnli-e5-h100")["parts"].items() if name != "lorasp against lora"]
    assert "confirmed" in kinds and set(kinds) == {"confirmed"}


COMPARED = [
    ("parity-minilm-h100", "lorasp", "full", "30 seeds, {d} ({i}; `parity"),
    ("ratio-minilm-h100", "lorasp", "lorasp:ratio=1.0", "as all ({d}, {i})"),
    ("ratio-minilm-h100", "lorasp:ratio=0.25", "lorasp:ratio=1.0", "within two points ({d}, {i})"),
    ("ratio-minilm-h100", "lorasp:ratio=0.1", "lorasp:ratio=1.0", "shown to be ({d}, {i}; `ratio"),
    ("precision-minilm-h100", "int8", "none", "in int8 {d} ({i})"),
    ("precision-minilm-h100", "nf4", "none", "nf4 {d} ({i})"),
    ("precision-minilm-h100", "fp4", "none", "fp4 {d} ({i})"),
    ("precision-minilm-h100", "sim3", "none", "runs collapse ({d}, {i}; `precision"),
]


@pytest.mark.parametrize(("run", "method", "other", "told"), COMPARED)
def test_studies_of_equality(run: str, method: str, other: str, told: str) -> None:
    """The difference from the records; the interval, for new examples too, from the answer of the study."""
    table = tabulate(run, "quantize" if run.startswith("precision") else "method")
    gaps = table[method] - table[other]
    assert gaps.notna().sum() == (20 if run.startswith("precision") else 30)
    rows = {r["method"].removeprefix("lorasp [quantize=").rstrip("]").partition(",")[0]: r for r in evidence(run)}
    found = rows[method]["difference (95 %)"] if method in rows else rows[f"{method}"]["difference (95 %)"]
    difference, _, interval = found.partition(" (")
    seeds = stats.ttest_1samp(gaps, 0).confidence_interval()
    low, high = (float(x) for x in interval.rstrip(")").split(" to "))
    assert difference == f"{gaps.mean():+.2f}" and low <= seeds.low + 0.01 and high >= seeds.high - 0.01
    assert told.format(d=difference, i=interval.rstrip(")")) in FINDINGS


def evidence(run: str) -> list[dict[str, str]]:
    return [r for r in read_study(run)["evidence"] if r.get("against") not in ("lora",)]


def test_frozen_entries_and_regularization() -> None:
    frozen = [r["difference (95 %)"].split()[0] for r in evidence("precision-minilm-h100") if "frozen" in r["method"]]
    assert f"{min(frozen)} to {max(frozen)}" == "+0.03 to +0.11" and "alone +0.03 to +0.11" in FINDINGS
    rows = {r["method"]: r for r in read_study("regularisation-minilm-h100")["evidence"]}
    losses = {m: (r["train loss"], r["unseen loss"]) for m, r in rows.items()}
    assert (losses["lorasp"], losses["lora"]) == (("0.126", "0.639"), ("0.189", "0.592"))
    assert "(loss 0.126 and 0.189) and unseen rows worse (0.639 and 0.592)" in FINDINGS
    assert "({} and {}; `regularisation".format(*losses["lorasp:resample=10"]) in FINDINGS
    assert rows["lorasp"]["verdict"] == "contradicted" and rows["lorasp:resample=10"]["verdict"] == "confirmed"


def test_spread_over_masks() -> None:
    """Variance components of two crossed factors, by mean squares."""
    grids: dict[str, dict[tuple[int, int], float]] = {}
    for record in read_records("seed-sensitivity-minilm-h100"):
        seeds = record["cell"]["seeds"]
        if seeds["order"] == seeds["dropout"] == seeds["head"] == 0:
            average = next(iter(record["averages"].values()))
            grids.setdefault(record["cell"]["task"], {})[seeds["init"], seeds["mask"]] = average["score"]
    told = {}
    for task, scores in grids.items():
        table = pd.Series(scores).unstack().loc[range(10), range(10)].to_numpy()
        masks, inits = table.mean(axis=0), table.mean(axis=1)
        rest = table - masks - inits[:, None] + table.mean()
        error = (rest**2).sum() / 81
        told[task] = [max(0.0, side.var(ddof=1) - error / 10) ** 0.5 for side in (masks, inits)]
        assert told[task][0] < told[task][1]
    sentence = read_study("seed-sensitivity-minilm-h100")["sentence"]
    for task, bound, text in (
        ("mrpc", "0.6", "of 0.3 points on mrpc (95 % bound 0.6)"),
        ("cola", "2.1", "0.9 on cola (2.1)"),
        ("stsb", "3.6", "0.8 on stsb (3.6)"),
    ):
        assert f"{told[task][0]:.1f}" in text and text in FINDINGS
        assert f"On {task} scores vary over masks with a standard deviation of {told[task][0]:.1f}" in sentence
        assert f"(95 % bound {bound})" in sentence


@pytest.mark.slow
def test_counts_of_claims(tmp_path: Path) -> None:
    unpack(REFERENCE / "glue-minilm-h100-tuned", tmp_path / "tuned")
    roots = f"{REFERENCE},{tmp_path / 'tuned'}"
    assert main(["study", "claims", "--runs", roots, "--out", str(tmp_path / "out"), "--formats", "md"]) == 0
    sentence = json.loads((tmp_path / "out/study.json").read_text())["sentence"]
    assert sentence.startswith(
        "Of 26 claims, real data or exact counts leave 10 confirmed, 5 contradicted, 6 undecided; 5"
    )
    assert all(f"- {text}" in FINDINGS for text in ("confirm 10:", "contradict 5:", "leave 6 undecided:"))


SIX = "mean of 6 tasks"
TUNED = [
    ("lorasp", "full", SIX, "lorasp minus full is {d} ({i}) on the mean of six, p = 0.054"),
    ("full", "lora", SIX, "full minus lora {d} ({i}, p = 0.010)"),
    ("lora-fa", "lora", SIX, "lora-fa {d} ({i})"),
    ("bitfit", "lora", SIX, "bitfit {d} ({i})"),
    ("head", "lora", SIX, "head {d} ({i})"),
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
    ("lora", "full", "without stsb lora is {})"),
    ("rslora", "lorasp", "without stsb {})"),
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
