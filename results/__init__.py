"""Stored results from Python: frames of a run's folder, and `run`, which trains and reports.

`load` has the scores, `profiles` memory and speed, `comparisons` the differences with their tests, `predictions` the
examples and `curves` the training loss. Each has its columns documented, in a dictionary of the name given below.
"""

from results.comparisons import COMPARISON_COLUMNS, comparisons
from results.curves import CURVE_COLUMNS, curves
from results.frame import COLUMNS, load
from results.job import run
from results.predictions import PREDICTION_COLUMNS, predictions
from results.profiles import PROFILE_COLUMNS, profiles

__all__ = [
    "COLUMNS",
    "COMPARISON_COLUMNS",
    "CURVE_COLUMNS",
    "PREDICTION_COLUMNS",
    "PROFILE_COLUMNS",
    "comparisons",
    "curves",
    "load",
    "predictions",
    "profiles",
    "run",
]
