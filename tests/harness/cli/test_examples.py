"""`examples` and `report --with-text` on a short run: counts, the text of the source, and a source that has changed."""

from __future__ import annotations

import csv
import importlib.resources
import json
from pathlib import Path

import pandas as pd
import pytest

import results
from harness.cli.examples import format_changes
from harness.cli.main import main
from reports.statistics.changed_examples import ChangedExample, ExampleChanges, PairCounts, Side

ROWS = importlib.resources.files("suites.embedded") / "data" / "glue" / "rte" / "dev.tsv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    settings = {"suite": "glue", "methods": "lora,lorasp", "tasks": "rte,stsb", "seeds": 2, "max_steps": 25}
    results.run(**settings, eval_rows=100, profile=False, threads=1, out=out, formats="md", figures="")
    return out


def read_source() -> list[dict[str, str]]:
    return list(csv.DictReader(ROWS.read_text().splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def test_json_has_the_predictions_and_the_text_of_the_source(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["examples", str(folder), "--task", "rte", "--between", "lora@0,lora@1", "--json"]
    assert main([*arguments, "--with-text", "--limit", "3"]) == 0
    answer = json.loads(capsys.readouterr().out)
    cells = {
        seed: pd.read_parquet(folder / "cells" / f"{r['key']}.parquet").set_index("id")
        for seed, r in results.load(folder).query("task == 'rte' and method == 'lora'").set_index("seed").iterrows()
    }
    source = read_source()
    assert 0 < len(answer["examples"]) <= 3 and answer["examples_scored"] == 100
    for example in answer["examples"]:
        assert example["before"] == [cells[0].loc[example["id"], "prediction"]]
        assert example["after"] == [cells[1].loc[example["id"], "prediction"]]
        row = source[int(example["id"].rpartition("/")[2])]
        assert example["texts"] == [row["text_a"], row["text_b"]]
    differ = (cells[0].prediction == cells[0].target) != (cells[1].prediction == cells[1].target)
    assert answer["examples_changed"] == differ.sum()
    # no text without --with-text
    assert main(arguments) == 0
    assert "texts" not in json.loads(capsys.readouterr().out)["examples"][0]


@pytest.mark.parametrize("task", ["rte", "stsb"])
def test_the_table_fits_in_80_columns(folder: Path, task: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["examples", str(folder), "--task", task, "--between", "lora,lorasp", "--with-text"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"glue {task}: lora to lorasp" and max(map(len, lines)) <= 80


def test_long_names_are_stacked_and_never_cut() -> None:
    name, seeds = "lorasp:" + "x" * 200, "dropout=0;head=0;init=0;mask=3;order=0"
    example = ChangedExample("i" * 100, "validation", 0, (0,), (1,), 0, 1, -1.0)
    pair = PairCounts(seeds, 0, 1, 9, 5, 1.0)
    changes = ExampleChanges("glue", "rte", Side("lora", ()), Side(name, ()), "classes", 10, (pair,), 1.0, (example,))
    lines = list(format_changes(changes, 5, None))
    assert max(map(len, lines)) <= 80
    whole = "".join(lines)
    assert name in whole and "i" * 100 in whole and seeds in whole and "…" not in whole


def test_a_source_that_has_changed_shows_no_text(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = tmp_path / "dev.tsv"
    changed.write_text(ROWS.read_text().replace("the ", "a ", 1))
    flags = ["--with-text", "--data-file", f"rte/dev={changed}"]
    for command in (["examples", str(folder), "--task", "rte", "--between", "lora,lorasp"], ["report", str(folder)]):
        assert main([*command, *flags]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and len(captured.err.splitlines()) == 1
        assert "the rows of glue/rte are not those of the run" in captured.err


def test_the_report_has_text_only_on_request(folder: Path, tmp_path: Path) -> None:
    sentences = {row[name] for row in read_source() for name in ("text_a", "text_b")}
    for flags, expected in (([], False), (["--with-text"], True)):
        assert (
            main(["report", str(folder), "--to", str(tmp_path), "--formats", "html,md", "--figures", "", *flags]) == 0
        )
        for name in ("report.html", "report.md"):
            text = (tmp_path / name).read_text()
            assert any(sentence in text for sentence in sentences) is expected
            assert "Examples that change against lora" in text


def test_limit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["examples", str(folder), "--task", "stsb", "--between", "lora,lorasp", "--limit"]
    assert main([*arguments, "-1"]) == 2 and "--limit -1: allowed: 0 or more" in capsys.readouterr().err
    assert main([*arguments, "0"]) == 0 and "validation/" not in capsys.readouterr().out
