"""Each adapter with the real package, offline, read back by the package; else with a stub that notes the calls."""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from results.loggers.base import LOGGERS, LoggedCell, build_cells
from tests.reports.records import cell, record

VARIABLES = ("WANDB_MODE", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "TRACKIO_SPACE_ID")


@pytest.fixture(autouse=True)
def own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "TRACKIO_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")


def build_cell(out: Path, seed: int = 0) -> LoggedCell:
    made = record(61.25, cell("rte", "lorasp", seed), scores={"accuracy": 61.25, "f1": 50.5}, steps=2)
    return build_cells([made], out)[0]


def read_wandb(path: Path) -> list[Any]:
    """The records of an offline file: a log in LevelDB's format of protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    content, place, whole, records = path.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        whole += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            records.append(wandb_internal_pb2.Record.FromString(whole))
            whole = b""
    return records


def test_wandb_writes_an_offline_run(tmp_path: Path) -> None:
    wandb = pytest.importorskip("wandb")
    LOGGERS.get("wandb")(tmp_path).write(build_cell(tmp_path))
    wandb.teardown()  # as at the end of a process: until then the file may not be whole
    (path,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    records = read_wandb(path)
    runs = [r.run for r in records if r.WhichOneof("record_type") == "run"]
    assert runs[0].run_id == build_cell(tmp_path).key and runs[0].project == "lorasp-harness"
    history = [
        {item.nested_key[0] if item.nested_key else item.key: item.value_json for item in r.history.item}
        for r in records
        if r.WhichOneof("record_type") == "history"
    ]
    assert [(row["_step"], row["loss"]) for row in history] == [("1", "0.7"), ("2", "0.5")]
    summary = {
        item.nested_key[0] if item.nested_key else item.key: item.value_json
        for r in records
        if r.WhichOneof("record_type") == "summary"
        for item in r.summary.update
    }
    assert float(summary["accuracy"]) == 61.25 and float(summary["f1"]) == 50.5


def test_mlflow_writes_files(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    logger = LOGGERS.get("mlflow")(tmp_path)
    for seed in range(2):
        logger.write(build_cell(tmp_path, seed))
    client = mlflow.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("lorasp-harness")
    runs = client.search_runs([experiment.experiment_id])
    assert {run.data.tags["cell"] for run in runs} == {build_cell(tmp_path, seed).key for seed in range(2)}
    for run in runs:
        assert run.info.status == "FINISHED" and run.info.end_time - run.info.start_time == 60_000
        assert run.data.metrics["score/accuracy"] == 61.25 and run.data.params["method"] == "lorasp"
        loss = client.get_metric_history(run.info.run_id, "loss")
        assert sorted((point.step, point.value) for point in loss) == [(1, 0.7), (2, 0.5)]


def test_trackio_writes_its_local_database(tmp_path: Path) -> None:
    trackio = pytest.importorskip("trackio")
    made = build_cell(tmp_path)
    LOGGERS.get("trackio")(tmp_path).write(made)
    (run,) = trackio.Api().runs("lorasp-harness")
    assert run.name == f"{made.name} {made.key}"
    import sqlite3

    (path,) = Path(trackio.utils.TRACKIO_DIR).glob("lorasp-harness.db")
    with sqlite3.connect(path) as database:
        rows = database.execute(
            "select step, metrics from metrics where run_name = ? order by id", (run.name,)
        ).fetchall()
    assert [row[0] for row in rows] == [1, 2, 2] and "0.7" in str(rows[0][1]) and "61.25" in str(rows[2][1])


def test_the_calls_of_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = MagicMock()
    monkeypatch.setitem(sys.modules, "wandb", module)
    made = build_cell(tmp_path)
    LOGGERS.get("wandb")(tmp_path).write(made)
    given = module.init.call_args.kwargs
    assert (given["mode"], given["dir"], given["id"]) == ("offline", str(tmp_path), made.key)
    run = module.init.return_value
    assert [call.kwargs["step"] for call in run.log.call_args_list] == [1, 2]
    run.summary.update.assert_called_once_with({"accuracy": 61.25, "f1": 50.5})
    run.finish.assert_called_once_with(exit_code=0)
    monkeypatch.setenv("WANDB_MODE", "online")
    LOGGERS.get("wandb")(tmp_path).write(made)
    assert module.init.call_args.kwargs["mode"] == "online"


def test_the_calls_of_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = MagicMock()
    module.entities = SimpleNamespace(Metric=lambda *values: values, Param=lambda *values: values)
    client = module.MlflowClient.return_value
    client.get_experiment_by_name.return_value = None
    monkeypatch.setitem(sys.modules, "mlflow", module)
    LOGGERS.get("mlflow")(tmp_path).write(build_cell(tmp_path))
    module.MlflowClient.assert_called_once_with(tracking_uri=(tmp_path / "mlruns").as_uri())
    client.create_experiment.assert_called_once_with("lorasp-harness")
    metrics = [point for call in client.log_batch.call_args_list for point in call.kwargs.get("metrics", ())]
    assert [(m[0], m[1], m[3]) for m in metrics][:2] == [("loss", 0.7, 1), ("loss", 0.5, 2)]
    assert ("score/f1", 50.5, 2) in [(m[0], m[1], m[3]) for m in metrics]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    LOGGERS.get("mlflow")(tmp_path).write(build_cell(tmp_path))
    module.MlflowClient.assert_called_with(tracking_uri="http://server")


def test_the_calls_of_trackio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = MagicMock()
    monkeypatch.setitem(sys.modules, "trackio", module)
    LOGGERS.get("trackio")(tmp_path).write(build_cell(tmp_path))
    assert module.init.call_args.kwargs["project"] == "lorasp-harness"
    logged = [(call.kwargs["step"], call.args[0]) for call in module.log.call_args_list]
    assert logged == [(1, {"loss": 0.7}), (2, {"loss": 0.5}), (2, {"score/accuracy": 61.25, "score/f1": 50.5})]
    module.finish.assert_called_once_with()
