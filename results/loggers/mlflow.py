"""MLflow: the server of MLFLOW_TRACKING_URI, or files below OUT/mlruns."""

from __future__ import annotations

import os
from typing import Any

from results.loggers.base import LOGGERS, PROJECT, LoggedCell, Logger

MOST_CHARACTERS = 500
"""Limit of a parameter's value on most servers."""


@LOGGERS.register("mlflow")
class MlflowLogger(Logger):
    """A run of experiment MLFLOW_EXPERIMENT_NAME (default: lorasp-harness) per cell; the tag `cell` has its key."""

    package = "mlflow-skinny"

    @classmethod
    def load(cls) -> Any:
        # mlflow reports its use to its makers unless told otherwise, also without a server
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow

        return mlflow

    def write(self, cell: LoggedCell) -> None:
        mlflow = self.load()
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            # mlflow 3.7 and later refuse their own file format without it; a database needs the whole of mlflow
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
            uri = (self.out.resolve() / "mlruns").as_uri()
        client = mlflow.MlflowClient(tracking_uri=uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = client.get_experiment_by_name(name)
        experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
        started, finished = (round(1000 * seconds) for seconds in (cell.started, cell.finished))
        tags = {"cell": cell.key, "group": cell.group}
        run = client.create_run(experiment_id, start_time=started, tags=tags, run_name=cell.name)
        metric, param = mlflow.entities.Metric, mlflow.entities.Param
        points = [metric("loss", loss, finished, step) for step, loss in cell.curve]
        points += [metric(f"score/{name}", value, finished, cell.steps) for name, value in cell.scores.items()]
        params = [param(name, str(value)[:MOST_CHARACTERS]) for name, value in cell.config.items()]
        for start in range(0, max(len(points), 1), 900):
            # servers take at most 1,000 metrics and 100 parameters at once
            client.log_batch(run.info.run_id, metrics=points[start : start + 900])
        for start in range(0, len(params), 100):
            client.log_batch(run.info.run_id, params=params[start : start + 100])
        client.set_terminated(run.info.run_id, "FINISHED" if cell.is_ok else "FAILED", finished)
