"""The translation suite from files to records, with a tiny model; the stored texts scored again by sacrebleu."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from harness.cli.main import main
from harness.core.record import Record
from reports.statistics.translation import build_translation_rows
from tests.harness.language import SENTENCES, save_model
from tests.suites.metrics.test_translation import command_line


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Official files, the training part apart, which comes as single files."""
    for stem in ("newsdev2016", "newstest2016", "own"):
        for side, texts in zip(("en", "ro"), zip(*SENTENCES, strict=True), strict=True):
            (tmp_path / f"{stem}.{side}").write_text("".join(f"{text}\n" for text in texts))
    return tmp_path


@pytest.mark.parametrize(("kind", "method"), [("t5", "full"), ("llama", "lora:rank=8")])
def test_a_run_learns_and_the_stored_texts_score_the_same(kind: str, method: str, data: Path) -> None:
    folder = save_model(data / "model", kind)
    words = ["run", "--suite", "wmt16", "--tasks", "en-ro", "--model", f"wmt16={folder}", "--data-dir", str(data)]
    words += ["--data-file", f"wmt16/train={data}/own.en,{data}/own.ro", "--methods", method, "--seeds", "1"]
    words += [
        "--epochs",
        "100",
        "--max-steps",
        "100",
        "--lr",
        "2e-2",
        "--max-length",
        "16",
        "--max-target-length",
        "16",
    ]
    out = data / "out"
    assert main([*words, "--no-profile", "--formats", "md", "--figures", "", "--out", str(out), "--threads", "1"]) == 0
    (path,) = out.glob("cells/*.json")
    record = json.loads(path.read_text())
    assert record["data_notes"][0] == "partial: train is read from own.en, own.ro, not official files"
    assert record["averages"]["wmt16"] == {
        "tasks": ["en-ro", "ro-en"],
        "score": record["scores"]["bleu"],
        "metrics": ["bleu"],
    }
    assert record["majority"] is None and record["scores"]["chrf2"] > 20
    side = pd.read_parquet(path.with_suffix(".parquet"))
    assert list(side.columns) == ["id", "split", "target", "prediction"]
    references = [ro for _, ro in SENTENCES]
    assert list(side["target"]) == references
    for metric in ("bleu", "chrf2", "ter"):
        told = command_line(data, list(side["prediction"]), references, metric.rstrip("2"))
        assert told == (f"{record['scores'][metric]:.14f}", record["extra"]["signatures"][metric])
    own = Record.model_validate(record)
    tested = build_translation_rows([({}, (own, own))], path.parent)
    assert {r["metric"]: r["of_method"] for r in tested} == {
        "BLEU": pytest.approx(own.scores["bleu"]),
        "chrF2": pytest.approx(own.scores["chrf2"]),
    }
    assert {r["randomisation_p"] for r in tested} == {1.0}
    report = (out / "report" / "report.md").read_text()
    assert "† en-ro: partial: train is read from own.en" in report and "wmt16" in report


def test_a_broken_file_ends_the_run_before_training(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = save_model(data / "model", "t5")
    (data / "own.ro").write_text("unu\n")
    words = ["run", "--suite", "wmt16", "--model", f"wmt16={folder}", "--data-dir", str(data), "--out", str(data / "o")]
    assert main([*words, "--data-file", f"wmt16/train={data}/own.en,{data}/own.ro"]) == 2
    assert "own.ro line 2: expected a sentence, found the end of the file" in capsys.readouterr().err
    assert not list((data / "o").glob("cells/*"))


def test_files_for_a_suite_whose_tasks_have_own_files_are_refused(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "--tasks", "rte", "--data-file", f"glue/train={data}/own.en", "--out", str(data / "o")]
    assert main(words) == 2
    assert "name one: TASK/train" in capsys.readouterr().err
