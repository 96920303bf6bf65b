"""Stored results from Python: `load` a run's folder as a frame, `run` the main job."""

from results.frame import COLUMNS, load
from results.job import run

__all__ = ["COLUMNS", "load", "run"]
