"""Suites of tasks, one a module."""

import harness  # noqa: F401  before torch, because it sets how OpenMP threads wait
