"""Comparisons, predictions and curves as frames, and how a run shows itself."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import results
from harness.core.errors import UserError
from harness.core.spec import Spec
from harness.core.store import Store
from reports.statistics.analysis import analyse
from results.job import FinishedRun
from results.report import rewrite_report
from tests.reports.predicted import guesses, kept
from tests.reports.records import cell, grid_of, many, profile, record, store_of


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two methods with three seeds and stored predictions."""
    out, drafts = tmp_path_factory.mktemp("run"), tmp_path_factory.mktemp("drafts")
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 60)
    records = [
        kept(drafts, guesses(rng, targets, share), targets, method=method, seed=seed)
        for method, share in (("lora", 0.8), ("lorasp", 0.7))
        for seed in range(3)
    ]
    store_of(out, records)
    for made in records:
        Store(out).write(made, pd.read_parquet(drafts / f"{made.key}.parquet"))
    return out


@pytest.mark.parametrize(
    ("read", "columns"),
    [
        (results.comparisons, results.COMPARISON_COLUMNS),
        (results.predictions, results.PREDICTION_COLUMNS),
        (results.curves, results.CURVE_COLUMNS),
    ],
)
def test_columns_are_those_that_are_documented(read: object, columns: dict[str, str], run: Path) -> None:
    frame = read(run)  # type: ignore[operator]
    assert list(frame.columns) == list(columns) and len(frame) and all(columns.values())
    page = (Path(__file__).parents[2] / "docs" / "results-from-python.md").read_text()
    assert all(f"`{name}`" in page for name in columns)
    documented = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert set(columns) <= set(documented)


def test_comparisons_are_those_of_the_report(run: Path) -> None:
    """As they stand in comparisons.csv, and the difference as scipy computes it from the scores."""
    path, _ = rewrite_report(run, Spec(formats=("csv", "latex", "readme-table"), figures=()))
    written = pd.read_csv(path.parent / "comparisons.csv")
    frame = results.comparisons(run)
    assert list(written.columns) == list(frame.columns)
    for name in ("difference", "low", "high", "p", "p_adjusted"):
        assert frame[name].astype(float).to_numpy() == pytest.approx(written[name].to_numpy(), nan_ok=True)
    scores = results.load(run).pivot(index="seed", columns="method", values="value")
    test = stats.ttest_rel(scores["lorasp"], scores["lora"])
    assert frame["difference"].iloc[0] == pytest.approx((scores["lorasp"] - scores["lora"]).mean())
    assert frame["pairs"].iloc[0] == test.df + 1


def test_predictions_give_the_scores_again(run: Path) -> None:
    frame = results.predictions(run)
    assert len(frame) == 6 * 60 and frame["id"].nunique() == 60
    correct = (frame["target"] == frame["prediction"]).groupby(frame["key"]).mean() * 100
    scores = results.load(run).set_index("key")["value"]
    assert correct.sort_index().to_numpy() == pytest.approx(scores.sort_index().to_numpy())
    only = results.predictions(run, task="rte", method="lora")
    assert set(only["method"]) == {"lora"} and len(only) == 180 and set(only["seeds"]) == {"0", "1", "2"}


def test_curves_are_those_of_the_records(tmp_path: Path) -> None:
    out = store_of(tmp_path, many(methods=2, seeds=2))
    frame = results.curves(out, task="rte")
    stored = {r.key: r.loss_curve for r in Store(out).read()[0].values() if r.cell.task == "rte"}
    assert set(frame["key"]) == set(stored) and set(frame["task"]) == {"rte"}
    for key, group in frame.groupby("key"):
        assert list(zip(group["step"], group["loss"], strict=True)) == stored[key]


@pytest.mark.parametrize("read", [results.comparisons, results.predictions, results.curves])
def test_a_folder_without_a_run_is_refused(read: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="give the folder of"):
        read(tmp_path / "nowhere")  # type: ignore[operator]


def test_what_is_not_stored_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no cell of task 'cola' is stored; stored are: rte"):
        results.predictions(run, task="cola")
    with pytest.raises(UserError, match=r"no cell of method 'full' is stored; stored are: lora, lorasp"):
        results.curves(run, method="full")
    bare = store_of(tmp_path, grid_of({("cola", "lora"): [60.0]}))
    with pytest.raises(UserError, match="no stored predictions"):
        results.predictions(bare)


class Cells(HTMLParser):
    """The texts of table cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_run_shows_itself_in_a_few_lines(tmp_path: Path) -> None:
    """2,000 cells, and a name of markup: the ranking, the folder and the counts, in text and in HTML."""
    records = [*many(), record(None, cell(method="<b>full</b>" + "x" * 200))]
    out = store_of(tmp_path, records)
    analysis = analyse(records, [profile()])
    outcome = FinishedRun(out, out / "report" / "report.html", tuple(records), (profile(),), 1.0, analysis)
    frame = results.load(out)
    for shown in (repr(outcome), repr(frame)):
        assert len(shown.splitlines()) <= 25 and max(map(len, shown.splitlines())) < 200
        assert (
            str(out) in shown and f"{len(records)} cells" in shown and "1 failed" in shown and "lorasp:rank=25" in shown
        )
    best = frame[frame["metric"].notna()].groupby(["method", "task"])["value"].mean().groupby("method").mean()
    for page in (outcome._repr_html_(), frame._repr_html_()):
        cells = Cells(page)
        assert "b" not in cells.tags and cells.tags.count("table") == 1
        body = cells.texts[cells.texts.index("trainable parameters") + 1 :]
        assert body[0] == best.idxmax() and body[1].startswith(f"{best.max():.1f} ± ")
    assert len(repr(frame.head(2)).splitlines()) < 25 and type(frame[frame["task"] == "rte"]) is pd.DataFrame
    assert type(frame.copy()) is pd.DataFrame and frame["value"].mean() > 0


def test_importing_results_loads_neither_torch_nor_pandas() -> None:
    code = "import sys, results; print([m for m in ('torch', 'pandas', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
