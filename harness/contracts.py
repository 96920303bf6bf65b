"""The names that plugins import; they stay here when modules inside harness/core move.

from harness.contracts import strategy, METHODS, Method, SUITES, Suite
"""

from __future__ import annotations

from harness.core.errors import CellFailed, NotApplicable, UserError
from harness.core.learning_rate import SCHEDULES
from harness.core.method import (
    METHODS,
    METRICS,
    STRATEGIES,
    SUITES,
    Average,
    Calibration,
    Evaluated,
    Evaluator,
    Example,
    Exported,
    Initial,
    Label,
    Masks,
    Member,
    Method,
    Metric,
    PerSite,
    Range,
    Site,
    Sourced,
    SourceRequest,
    Strategy,
    Suite,
    SuiteOption,
    SuitePreset,
    Task,
    TaskData,
    option,
    strategy,
)
from harness.core.optimizer import OPTIMIZERS, Optimizer

__all__ = [
    "METHODS",
    "METRICS",
    "OPTIMIZERS",
    "SCHEDULES",
    "STRATEGIES",
    "SUITES",
    "Average",
    "Calibration",
    "CellFailed",
    "Evaluated",
    "Evaluator",
    "Example",
    "Exported",
    "Initial",
    "Label",
    "Masks",
    "Member",
    "Method",
    "Metric",
    "NotApplicable",
    "Optimizer",
    "PerSite",
    "Range",
    "Site",
    "SourceRequest",
    "Sourced",
    "Strategy",
    "Suite",
    "SuiteOption",
    "SuitePreset",
    "Task",
    "TaskData",
    "UserError",
    "option",
    "strategy",
]
