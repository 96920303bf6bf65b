"""The export in the schema of Every Eval Ever: valid for its schema and its package, and without loss of scores.

tests/results/schemas/ has the schema of every-eval-ever 0.3.0, unmodified, with its licence (MIT): the package itself
needs Python 3.12.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.core.errors import UserError
from harness.core.record import Record
from results.every_eval_ever import PACKAGE, SCHEMA_VERSION, export_run, read_scores
from tests.reports.records import cell, record, store_of

SCHEMA = Path(__file__).parent / "schemas" / f"every_eval_ever-{SCHEMA_VERSION}.schema.json"
HUB = {"name": "FacebookAI/roberta-base", "revision": "b" * 64}


def build_records() -> list[Record]:
    rates = [("lora", {"lr": 1e-3}), ("lora", {"lr": 2e-3}), ("lorasp", {"lr": 1e-3})]
    made = [
        record(100 / 3 + s + n, cell("rte", method, s, protocol=protocol))
        for n, (method, protocol) in enumerate(rates)
        for s in range(2)
    ]
    both = {"pearson": -12.345678901234567, "spearman": 100.00000000000001}
    made.append(record(1.0, cell("stsb", "lora:rank", 0, model=HUB), scores=both, data_source="hub nyu-mll/glue"))
    texts = {"bleu": 31.2, "ter": 140.5, "accuracy_matched": 0.1 + 0.2, "a plugin's": -1e300}
    made.append(record(1.0, cell("en-ro", "lora", 3, suite="wmt16"), scores=texts, stand_in=True))
    made.append(record(None, cell("cola", "lora", 0)))
    made.append(record(1.0, cell("cola", "lora", 1), scores={"f1": float("nan"), "accuracy": 5.0}))
    return made


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    to = tmp_path / "exported"
    export_run(store_of(tmp_path / "run", build_records()), to, "someone")
    return to


def test_scores_are_read_back_without_loss(exported: Path) -> None:
    expected = {(r.key, name): value for r in build_records() for name, value in r.scores.items() if value == value}
    rows = read_scores(exported)
    assert {(row["cell"], row["metric"]): row["value"] for row in rows} == expected and len(rows) == len(expected)
    cells = {r.key: r.cell for r in build_records()}
    for row in rows:
        c = cells[row["cell"]]
        assert (row["suite"], row["task"], row["method"], row["seed"]) == (
            c.suite,
            c.task,
            c.label,
            str(c.seeds["init"]),
        )


def test_each_file_fits_the_schema(exported: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text())
    assert schema["version"] == SCHEMA_VERSION
    validator = jsonschema.Draft7Validator(schema)
    files = sorted(exported.glob("data/*/*/*/*.json"))
    assert len(files) == 9
    for path in files:
        log = json.loads(path.read_text())
        assert [error.message for error in validator.iter_errors(log)] == []
        # the datastore is queried by path
        assert log["model_info"]["id"] == f"someone/{path.parent.name}"
    del log["model_info"]
    assert [error.validator for error in validator.iter_errors(log)] == ["required"]


def test_the_package_finds_no_error(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    core = pytest.importorskip("every_eval_ever.validator.validation_core")
    for path in sorted(exported.glob("data/*/*/*/*.json")):
        report = core.validate_file(path, repo_path=path.relative_to(exported).as_posix(), run_semantic_checks=True)
        assert report.valid and not report.warnings
        core.EvaluationLog.model_validate_json(path.read_text())
    assert main(["export", PACKAGE, str(tmp_path / "run"), "--to", str(tmp_path / "again")]) == 0
    assert f"validated by {PACKAGE}" in capsys.readouterr().out


def test_models_and_results_have_names_of_their_own(exported: Path) -> None:
    logs = [json.loads(path.read_text()) for path in exported.glob("data/*/*/*/*.json")]
    assert len({log["evaluation_id"] for log in logs}) == len(logs)
    models = {log["model_info"]["additional_details"]["method"]: set() for log in logs}
    for log in logs:
        models[log["model_info"]["additional_details"]["method"]].add(log["model_info"]["id"])
    # two learning rates are two models, two seeds of one method are one
    assert len(models["lorasp"]) == 1 and len(models["lora"]) >= 2
    synthetic = [r["source_data"] for log in logs for r in log["evaluation_results"] if "wmt16" in r["evaluation_name"]]
    assert all(data["dataset_name"].startswith("synthetic") for data in synthetic)


def test_a_second_export_replaces_the_first(exported: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in exported.rglob("*.json")}
    export_run(tmp_path / "run", exported, "someone")
    assert {path: path.read_bytes() for path in exported.rglob("*.json")} == before


def test_what_cannot_be_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = store_of(tmp_path / "run", [record(None)])
    (tmp_path / "file").write_text("")
    for arguments, message in (
        ([str(run), "--to", str(tmp_path / "x")], "no cell has a score"),
        ([str(tmp_path / "none"), "--to", str(tmp_path / "x")], "holds no run"),
        ([str(run), "--to", str(tmp_path / "x"), "--organization", "a/b"], "--organization a/b: allowed: letters"),
    ):
        assert main(["export", PACKAGE, *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and len(error.splitlines()) == 1
    full = store_of(tmp_path / "full", [record(50.0)])
    assert main(["export", PACKAGE, str(full), "--to", str(tmp_path / "file")]) == 2
    assert "cannot write there" in capsys.readouterr().err
    (tmp_path / "data" / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "data" / "a" / "b" / "c" / "x.json").write_text("{}")
    with pytest.raises(UserError, match="is no file of"):
        read_scores(tmp_path)
