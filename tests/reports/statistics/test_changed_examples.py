"""Which examples change: against counts by hand, statsmodels and sacrebleu."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sacrebleu.metrics import CHRF
from statsmodels.stats.contingency_tables import mcnemar as reference

from harness.core.errors import UserError
from harness.core.metric import HELD_OUT
from harness.core.record import Predictions, Record
from reports.statistics.changed_examples import Side, as_dict, compute_clustered_p, find_changes, score_examples
from tests.reports.predicted import guesses, kept
from tests.reports.records import cell, record


def sides(folder: Path, seeds: int = 3) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, list[Record]]]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 2, 200)
    shares = {"lora": 0.8, "lorasp": 0.7}
    said = {m: np.stack([guesses(rng, targets, p) for _ in range(seeds)]) for m, p in shares.items()}
    records = {
        m: [kept(folder, predictions, targets, method=m, seed=s) for s, predictions in enumerate(rows)]
        for m, rows in said.items()
    }
    return said, targets, records


def test_counts_and_order_are_those_of_the_arrays(tmp_path: Path) -> None:
    said, targets, records = sides(tmp_path)
    before, after = (Side(m, tuple(records[m])) for m in ("lora", "lorasp"))
    changes = find_changes(before, after, ("0", "1", "2"), tmp_path)
    was, now = said["lora"] == targets, said["lorasp"] == targets
    for number, pair in enumerate(changes.pairs):
        cells = [was[number] & now[number], was[number] & ~now[number], ~was[number] & now[number]]
        assert [pair.both_right, pair.worsened, pair.improved] == [c.sum() for c in cells]
        table = [[cells[0].sum(), cells[1].sum()], [cells[2].sum(), (~was[number] & ~now[number]).sum()]]
        assert pair.p == pytest.approx(reference(table, exact=True).pvalue)
    net = now.astype(int).sum(0) - was.astype(int).sum(0)
    assert len(changes.examples) == int((was != now).any(0).sum()) and changes.total == 200
    # the first examples change most consistently
    assert [abs(e.net) for e in changes.examples] == sorted((abs(e.net) for e in changes.examples), reverse=True)
    assert abs(changes.examples[0].net) == abs(net).max()
    for example in changes.examples:
        place = int(example.id.rpartition("/")[2])
        assert example.net == net[place] and example.change == pytest.approx(net[place] / 3)
        assert list(example.before) == said["lora"][:, place].tolist()


def test_rows_of_the_validation_part_are_not_counted(tmp_path: Path) -> None:
    _, _, records = sides(tmp_path)
    before, after = (Side(m, tuple(records[m])) for m in ("lora", "lorasp"))
    expected = find_changes(before, after, ("0", "1", "2"), tmp_path)
    for one in (r for made in records.values() for r in made):
        path = tmp_path / f"{one.key}.parquet"
        table = pd.read_parquet(path)
        part = table.iloc[:50].assign(split=HELD_OUT, id=[f"train/{i}" for i in range(50)])
        pd.concat([part, table]).to_parquet(path, index=False)
    changes = find_changes(before, after, ("0", "1", "2"), tmp_path)
    assert (changes.total, changes.pairs, changes.p) == (expected.total, expected.pairs, expected.p)


def test_the_clustered_test_of_one_pair_is_mcnemars() -> None:
    nets = np.array([1] * 9 + [-1] * 21 + [0] * 50)
    table = [[30, 21], [9, 20]]
    expected = reference(table, exact=False, correction=False).pvalue
    assert compute_clustered_p(nets, np.arange(80)) == pytest.approx(expected)
    assert compute_clustered_p(np.zeros(5, dtype=int), np.arange(5)) == 1.0


def test_the_clustered_test_keeps_its_level_where_the_pooled_one_does_not() -> None:
    """Runs of one method agree on an example, so that pooling pairs of runs counts each example several times."""
    rng = np.random.default_rng(1)
    clustered = pooled = 0
    for _ in range(400):
        nets = rng.choice([-1, 0, 1], 200, p=[0.1, 0.8, 0.1]) * 5
        clustered += compute_clustered_p(nets, np.arange(200)) < 0.05
        won, lost = int(nets[nets > 0].sum()), int(-nets[nets < 0].sum())
        pooled += reference([[0, won], [lost, 0]], exact=False, correction=False).pvalue < 0.05
    assert clustered / 400 < 0.09 and pooled / 400 > 0.25


def test_scores_of_values_and_texts() -> None:
    values = score_examples("values", np.array([1.0, 4.0]), np.array([2.0, 3.5]))
    assert values.tolist() == [-1.0, -0.5]
    hypotheses, targets = ["the cat sat", "a dog"], ["the cat sits", "the dogs"]
    expected = [CHRF().sentence_score(h, [t]).score for h, t in zip(hypotheses, targets, strict=True)]
    assert score_examples("texts", hypotheses, targets) == pytest.approx(expected)


def test_a_regression_has_differences_of_its_error(tmp_path: Path) -> None:
    targets = np.array([1.0, 2.0, 3.0])
    said = {"lora": np.array([1.5, 2.0, 3.0]), "lorasp": np.array([1.25, 2.75, 3.0])}
    records = {m: kept(tmp_path, p, targets, method=m, seed=0, score=1.0) for m, p in said.items()}
    changes = find_changes(*(Side(m, (records[m],)) for m in said), ("0",), tmp_path)
    assert changes.kind == "values" and changes.pairs[0].both_right is None
    assert [(e.id.rpartition("/")[2], e.change) for e in changes.examples] == [("1", -0.75), ("0", 0.25)]
    written = as_dict(changes, 1)
    assert written["pairs"][0]["worsened"] == 1 and written["examples"][0]["target"] == 2.0


def test_generated_texts_have_differences_of_chrf(tmp_path: Path) -> None:
    targets = ["the cat sits", "the dogs run", "a bird"]
    said = {"lora": ["the cat sits", "the dogs", "a bird"], "lorasp": ["the cat", "the dogs run", "a bird"]}
    cells = {m: cell("en-ro", m, suite="wmt16") for m in said}
    for method, texts in said.items():
        frame = pd.DataFrame(
            {"id": ["test/0", "test/1", "test/2"], "split": "test", "target": targets, "prediction": texts}
        )
        frame.to_parquet(tmp_path / f"{cells[method].key}.parquet")
    side = Predictions(path="", sha256="", rows=3)
    before, after = (Side(m, (record(1.0, cells[m], predictions=side),)) for m in said)
    changes = find_changes(before, after, ("0",), tmp_path)
    expected = {}
    for i in range(2):
        now, was = (CHRF().sentence_score(said[m][i], [targets[i]]).score for m in ("lorasp", "lora"))
        expected[f"test/{i}"] = now - was
    assert changes.kind == "texts" and {e.id: e.change for e in changes.examples} == pytest.approx(expected)
    # the reference is text of the data source
    assert [e["target"] for e in as_dict(changes, 9)["examples"]] == [None, None]
    assert as_dict(changes, 9, {("test", f"test/{i}"): ("x",) for i in range(3)})["examples"][0]["target"] in targets


def test_other_examples_are_refused(tmp_path: Path) -> None:
    _, targets, records = sides(tmp_path, 1)
    other = kept(tmp_path, targets[:50], targets[:50], method="lorasp", seed=7)
    with pytest.raises(UserError, match="lora and lorasp were not scored on the same examples"):
        find_changes(Side("lora", tuple(records["lora"])), Side("lorasp", (other,)), ("0",), tmp_path)
    absent = records["lora"][0].model_copy(update={"predictions": None})
    with pytest.raises(UserError, match="no predictions are stored"):
        find_changes(Side("lora", (absent,)), Side("lorasp", tuple(records["lorasp"])), ("0",), tmp_path)
