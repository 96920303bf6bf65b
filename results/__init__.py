"""Stored results from Python: `load` reads the scores of a run, `profiles` its profiles, `run` trains and reports."""

from results.frame import COLUMNS, load
from results.job import run
from results.profiles import PROFILE_COLUMNS, profiles

__all__ = ["COLUMNS", "PROFILE_COLUMNS", "load", "profiles", "run"]
