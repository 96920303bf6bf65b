"""The names that plugins import; they stay here when modules inside harness move. Importing this imports no torch.

from harness.contracts import strategy, METHODS, Method, SUITES, Suite
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.errors import Absent, CellFailed, NotApplicable, UserError
from harness.core.executor import EXECUTORS
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
    InputStatistics,
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
from harness.core.presets import PRESETS, Preset, register_preset
from harness.core.protocol import Protocol
from harness.core.quantization import QUANTIZATIONS, Quantization, register_quantization
from harness.core.registry import load_all
from harness.core.seeds import Streams, equal
from harness.models.quantization.simulated import Simulated
from harness.planning.schedule import compute_learning_rates
from harness.runner.executors.base import Executor, ExecutorSetup, Machine
from harness.runner.executors.in_process import LocalExecutor
from harness.training.pack_job import PackJob, PackOutcome

__all__ = [
    "EXECUTORS",
    "METHODS",
    "METRICS",
    "OPTIMIZERS",
    "PRESETS",
    "QUANTIZATIONS",
    "SCHEDULES",
    "STRATEGIES",
    "SUITES",
    "Absent",
    "Average",
    "Calibration",
    "CellFailed",
    "Evaluated",
    "Evaluator",
    "Example",
    "Executor",
    "ExecutorSetup",
    "Exported",
    "Initial",
    "InputStatistics",
    "Label",
    "LocalExecutor",
    "Machine",
    "Masks",
    "Member",
    "Method",
    "Metric",
    "NotApplicable",
    "Optimizer",
    "PackJob",
    "PackOutcome",
    "PerSite",
    "Preset",
    "Protocol",
    "Quantization",
    "Range",
    "Simulated",
    "Site",
    "SourceRequest",
    "Sourced",
    "Strategy",
    "Streams",
    "Suite",
    "SuiteOption",
    "SuitePreset",
    "Task",
    "TaskData",
    "UserError",
    "compute_learning_rates",
    "equal",
    "load_all",
    "option",
    "register_preset",
    "register_quantization",
    "run_command",
    "strategy",
]


def run_command(words: Sequence[str]) -> int:
    """The exit code of `python -m harness WORDS` in this process, for tests of plugins."""
    from harness.cli.main import main

    return main(list(words))
