"""The registry of executors. An executor is one class in one file; this module imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.core.registry import Registry

EXECUTORS: Registry[Callable[..., Any]] = Registry("executor", package="harness.runner.executors")
"""Name -> class, or function that returns an executor, called with an ExecutorSetup (harness/runner/executors/base.py).

How packs are trained changes no result, so an executor is not in a cell's key."""

REMOTE_EXECUTORS = frozenset({"slurm"})
"""Executors that train on other machines, so that a profile of this one says nothing about the run."""
