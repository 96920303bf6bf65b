"""Translations: sacrebleu's own tests, a seed pair at a time, in the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.core.record import Predictions, Record
from reports.findings import build_findings
from reports.render import write_report
from reports.statistics import translation
from reports.statistics.analysis import analyse
from tests.reports.records import cell, record

REFERENCES = ["the cat sat on the mat today", "a dog ran in the park", "this is a small test of words"] * 20
METHODS, SEEDS = ("lora", "lorasp", "full"), 2


def said(method: str, seed: int) -> list[str]:
    """Each method is wrong in its own places."""
    step = 3 + METHODS.index(method) + seed
    return [text if i % step else text.replace("the", "a") for i, text in enumerate(REFERENCES)]


def translated(folder: Path, method: str, seed: int, texts: list[str] | None = None, **fields: Any) -> Record:
    bleu = pytest.importorskip("sacrebleu").corpus_bleu
    made = cell("en-ro", method, seed, suite="wmt16")
    texts = texts or said(method, seed)
    ids = [f"test/{i}" for i in range(len(texts))]
    frame = pd.DataFrame({"id": ids, "split": "test", "target": REFERENCES[: len(texts)], "prediction": texts})
    frame.to_parquet(folder / f"{made.key}.parquet", index=False)
    scores = {"bleu": bleu(texts, [REFERENCES[: len(texts)]]).score, "chrf2": 1.0, "ter": 1.0}
    kept = Predictions(path=f"{made.key}.parquet", sha256="0" * 64, rows=len(texts))
    return record(1.0, made, ("en-ro",), predictions=kept, scores=scores, **fields)


def runs(folder: Path) -> list[Record]:
    return [translated(folder, method, seed) for method in METHODS for seed in range(SEEDS)]


def test_each_seed_pair_is_tested_as_sacrebleu_does(tmp_path: Path) -> None:
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.significance import PairedTest

    found = build_findings(analyse(runs(tmp_path), [], cells=tmp_path))
    ((title, rows, notes, _),) = found.detail
    assert title == "Seed pairs of translations" and any("not to be pooled" in note for note in notes)
    shown = {(r["method"], r["against"], r["seeds"], r["metric"]): r for r in rows}
    against = [("lorasp", "lora"), ("full", "lora"), ("lorasp", "full")]
    assert set(shown) == {(m, f, str(s), x) for m, f in against for s in range(SEEDS) for x in ("BLEU", "chrF2")}
    for method, first in against[:2]:
        for seed in range(SEEDS):
            systems: Any = [(first, said(first, seed)), (method, said(method, seed))]
            for kind, column in (("ar", "randomisation p"), ("bs", "bootstrap p")):
                metrics: Any = {"BLEU": BLEU(), "chrF2": CHRF()}
                _, tested = PairedTest(systems, metrics, [REFERENCES], test_type=kind, n_samples=1000)()
                for metric in ("BLEU", "chrF2"):
                    result: Any = tested[metric][1]
                    row = shown[method, first, str(seed), metric]
                    assert row["method's"] == f"{result.score:.1f}"
                    p = result.p_value
                    assert row[column] == ("< 0.001" if p < 0.001 else f"{p:.3f}")
    write_report(runs(tmp_path), [], tmp_path / "r", "t", "c", findings=found, formats=("md", "csv"), images=())
    assert "### Seed pairs of translations" in (tmp_path / "r" / "report.md").read_text()
    assert len(pd.read_csv(tmp_path / "r" / "translations.csv")) == len(rows)


def test_what_is_not_tested_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [
        *runs(tmp_path),
        translated(tmp_path, "lora", 5),
        translated(tmp_path, "lorasp", 5, said("lorasp", 5)[:-1]),
    ]
    (tmp_path / f"{made[2].key}.parquet").unlink()  # lorasp, seed 0
    rows = analyse(made, [], cells=tmp_path).rows["translations"]
    why = {(r["method"], r["first"], r["seeds"]): r["why"] for r in rows if "why" in r}
    assert why["lorasp", "lora", "0"].endswith("does not read")
    assert why["lorasp", "lora", "5"] == "not scored on the same sentences in the same order"
    monkeypatch.setattr(translation, "MOST_SENTENCES", 2 * len(REFERENCES))
    ((_, rows, notes, _),) = build_findings(analyse(runs(tmp_path), [], cells=tmp_path)).detail
    assert len(rows) == 4 and any("Not tested: 4 seed pairs (more than 120 sentences" in note for note in notes)
