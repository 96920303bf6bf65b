"""Stored results from Python: `load` a run's folder as a frame, `profiles` its profiles, `run` the main job."""

from results.frame import COLUMNS, load
from results.job import run
from results.profiles import PROFILE_COLUMNS, profiles

__all__ = ["COLUMNS", "PROFILE_COLUMNS", "load", "profiles", "run"]
