"""The stored reference run: no verdict depends on a seed, and collapsed runs refuse every claim of equivalence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.runner.run import load_run
from reports.statistics.analysis import Analysis, analyse
from scripts.pack_reference import unpack

REFERENCE = Path(__file__).parents[3] / "results/reference/glue-minilm-h100-tuned"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "run"
    unpack(REFERENCE, folder)
    return folder


def analysis(run: Path, seed: int) -> Analysis:
    records, profiles, _ = load_run(run)
    return analyse(records, profiles, margin=1.0, seed=seed, cells=run / "cells")


@pytest.mark.slow
def test_verdicts_and_errors_are_the_same_for_twelve_seeds(run: Path) -> None:
    first = analysis(run, 0)
    assert len(first.judged) == 189
    for seed in range(1, 12):
        assert analysis(run, seed).judged == first.judged


@pytest.mark.slow
def test_collapses_of_the_reference_run(run: Path) -> None:
    found = analysis(run, 0)
    stsb = found.collapses["glue"]["stsb"].shares
    assert (stsb["lora"].collapsed, stsb["lorasp"].collapsed, stsb["full"].collapsed) == (6, 1, 0)
    assert not found.collapses["glue"]["rte"].is_learned
    (signature,) = [s for s in found.signatures["glue"] if "unstable" in s.name]
    assert signature.seen and "lorasp 1 of 10" in signature.sentence and "lora 6 of 10" in signature.sentence
    for judged in found.judged:
        if judged.comparison.equivalence_refusal:
            assert judged.verdict.kind not in ("equivalent", "non-inferior")
    assert any(j.comparison.equivalence_refusal for j in found.judged)


@pytest.mark.slow
def test_errors_over_examples_are_those_of_a_bootstrap(run: Path) -> None:
    """sst2, lorasp less lora: examples drawn 4,000 times with the ten seeds held."""
    import pyarrow.parquet

    records, *_ = load_run(run)
    right = {}
    for r in records:
        if r.cell.task == "sst2" and r.cell.label in ("lora", "lorasp"):
            table = pyarrow.parquet.read_table(run / "cells" / f"{r.key}.parquet")
            right.setdefault(r.cell.label, []).append(
                np.asarray(table["prediction"]) == np.asarray(table["target"]).astype(int)
            )
    gaps = 100 * (np.mean(right["lorasp"], axis=0) - np.mean(right["lora"], axis=0))
    rng = np.random.default_rng(0)
    drawn = [gaps[rng.integers(0, len(gaps), len(gaps))].mean() for _ in range(4000)]
    (one,) = [
        j.comparison
        for j in analysis(run, 0).judged
        if (j.comparison.place, j.comparison.method, j.comparison.first) == ("sst2", "lorasp", "lora")
    ]
    assert one.examples is not None and one.examples.se == pytest.approx(np.std(drawn), rel=0.04)
